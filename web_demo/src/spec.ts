/** What `x.json` says about `x.tflite`; nothing about a model is written down anywhere else. */

export interface TensorSpec {
  height: number;
  width: number;
  channels: number;
  dtype: 'uint8' | 'float32';
  /** The real value is (stored - zeroPoint) * scale; 1 and 0 for float32. */
  scale: number;
  zeroPoint: number;
}

export type Fill = 'all' | 'largest';

export interface ModelSpec {
  name: string;
  description: string;
  licence: string;
  input: TensorSpec;
  output: TensorSpec;
  kind: 'logits' | 'probabilities' | 'labels';
  /** Background first; two for a network with one logit. */
  labels: string[];
  colors: number[][];
  /** The foreground's probability above which a pixel is foreground. */
  threshold: number;
  /** Share of the previous frame's mask that stays where the picture is still, 0 to below 1. */
  smoothing: number;
  /** In which regions of the foreground what they enclose is filled, if at all. */
  fill: Fill | null;
  /** Foreground IoU on `accuracy.data`, 0-1, where it was measured. */
  accuracy: { data: string; foreground_iou?: number; mean_iou?: number } | null;
}

/** Several things to tell apart: shown in colours with a legend, not as one person. */
export const hasParts = (spec: ModelSpec) => spec.labels.filter((label) => label !== 'edge').length > 2;

/** Whether there is a background that can be replaced. */
export const hasBackground = (spec: ModelSpec) => !hasParts(spec) || spec.labels[0] === 'background';

/** The spec in the JSON `value`, or an Error that says what is wrong and how to mend it. */
export function parseSpec(value: unknown): ModelSpec {
  const spec = value as any;
  need(spec?.format === 1, `format ${spec?.format}; this page reads format 1. Convert the network again`);
  need(spec.input?.color_order === 'RGB', `colour order ${spec.input?.color_order}; this page gives RGB`);
  const kind = spec.output?.kind ?? 'logits';
  need(['logits', 'probabilities', 'labels'].includes(kind), `output ${kind}; this page reads logits, probabilities and labels`);
  const input = tensor(spec.input, 'input', spec.input.channels);
  const output = tensor(spec.output, 'output', spec.output.classes);
  need(input.channels === 3, `${input.channels} input channels; expected 3`);
  const { labels, colors } = spec;
  const classes = kind === 'labels' ? labels?.length : Math.max(2, output.channels);
  need(labels?.length === classes && colors?.length === classes, `labels or colours missing for ${classes} classes`);
  need(kind !== 'logits' || spec.output.activation === (output.channels === 1 ? 'sigmoid' : 'softmax'),
    `activation ${spec.output.activation} for ${output.channels} logits`);
  const { smoothing = 0.8, threshold = 0.5, fill_contours: asked } = spec;
  const fill = asked === true ? 'all' : asked || null;
  need([null, 'all', 'largest'].includes(fill), `fill_contours ${asked}; this page knows true, all and largest`);
  need(smoothing >= 0 && smoothing < 1, `smoothing ${smoothing}; expected 0 to below 1`);
  need(threshold > 0 && threshold < 1, `threshold ${threshold}; expected a number between 0 and 1`);
  return {
    name: String(spec.name),
    description: String(spec.description ?? ''),
    licence: String(spec.licence ?? 'not stated'),
    input,
    output,
    kind,
    labels,
    colors,
    threshold,
    smoothing,
    fill,
    accuracy: spec.accuracy ?? null,
  };
}

function tensor(json: any, side: string, channels: number): TensorSpec {
  const { height, width, dtype } = json;
  need(dtype !== 'int8', `int8 ${side}, which browsers cannot run. Convert it with --io uint8`);
  need(dtype === 'uint8' || dtype === 'float32', `${side} of ${dtype}; this page takes uint8 and float32`);
  for (const [name, side] of Object.entries({ height, width, channels }))
    need(Number.isInteger(side) && side > 0 && side <= 4096, `${name} ${side}`);
  const stored = dtype === 'uint8';
  return { height, width, channels, dtype, scale: stored ? (json.scale ?? 1) : 1, zeroPoint: stored ? (json.zero_point ?? 0) : 0 };
}

function need(fine: boolean, problem: string): asserts fine {
  if (!fine) throw new Error(`The model's spec has ${problem}.`);
}
