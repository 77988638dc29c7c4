import { expect, test } from 'vitest';
import { type ModelSpec, parseSpec } from '../src/spec.ts';
import { fillContours, packInput, readOutput, Smoothing } from '../src/tensor.ts';
import { bytes, compare, floats, golden, rgba } from './golden.ts';
import { json } from './model.ts';

function spec(input: object, output: object, classes = 2): ModelSpec {
  const labels = Array.from({ length: classes }, (_, i) => (i ? `class ${i}` : 'background'));
  const colors = labels.map((_, i) => [i, i, i]);
  return parseSpec({ ...json(), labels, colors, input: { ...json().input, ...input }, output: { ...json().output, ...output } });
}

const size = { height: 24, width: 16 };

test('the input of a uint8 network is the resized photo byte for byte', () => {
  const photo = bytes('resized-24x16');
  expect(packInput(rgba(photo), spec(size, {}))).toEqual(photo);
});

test('the input of a float network is 1/255 of each byte', () => {
  const packed = packInput(rgba(bytes('resized-24x16')), spec({ ...size, dtype: 'float32' }, {}));
  expect(compare(packed, floats('float32')).most).toBeLessThan(1e-7);
});

test('an input of another scale and zero point is quantised', () => {
  const packed = packInput(rgba(new Uint8Array([0, 51, 255])), spec({ height: 1, width: 1, scale: 0.01, zero_point: 10 }, {}));
  expect([...packed]).toEqual([10, 30, 110]);
});

const grid = { height: 9, width: 7 };
const outputs = {
  one: spec(size, { ...grid, classes: 1, scale: 0.05, zero_point: 120 }),
  two: spec(size, { ...grid, classes: 2, scale: 0.07, zero_point: 110, activation: 'softmax' }),
  five: spec(size, { ...grid, classes: 5, dtype: 'float32', activation: 'softmax' }, 5),
  stored: spec(size, { ...grid, classes: 5, scale: 0.03, zero_point: 99, activation: 'softmax' }, 5),
};

test.each(Object.entries(outputs))('probabilities of %s are those of Python', (name, spec) => {
  const { foreground, classes } = readOutput(golden(name).values, spec);
  expect(compare(foreground, floats(`${name}-foreground`)).most).toBeLessThan(1e-6);
  if (spec.labels.length > 2) expect(classes).toEqual(bytes(`${name}-classes`));
  else expect(classes).toBeNull();
});

test('an output of probabilities or labels is taken as it is', () => {
  const likely = spec(size, { height: 1, width: 2, classes: 2, kind: 'probabilities', dtype: 'float32', activation: 'softmax' });
  expect([...readOutput(new Float32Array([0.75, 0.25, 0, 1]), likely).foreground]).toEqual([0.25, 1]);
  const labels = spec(size, { height: 1, width: 3, classes: 1, kind: 'labels', activation: 'softmax' }, 3);
  const mask = readOutput(new Uint8Array([0, 2, 1]), labels);
  expect([[...mask.foreground], [...mask.classes!]]).toEqual([[0, 1, 1], [0, 2, 1]]);
});

test('smoothing over time is that of Python', () => {
  const { values, shape: [count, height, width] } = golden('frames');
  const pixels = height * width;
  const smoothing = new Smoothing();
  const calm = new Float32Array(values);
  for (let i = 0; i < count; i++) {
    const mask = { width, height, foreground: calm.subarray(i * pixels, (i + 1) * pixels), classes: null };
    smoothing.apply(mask, rgba(bytes('pictures').subarray(3 * i * pixels, 3 * (i + 1) * pixels)), width, height, 0.8);
  }
  expect(compare(calm, floats('calm')).most).toBeLessThan(1e-4);
  expect(compare(values, floats('calm')).most).toBeGreaterThan(0.1);
});

test('what contours enclose is filled as OpenCV fills it', () => {
  const { values, shape: [height, width] } = golden('blobs');
  const mask = { width, height, foreground: Float32Array.from(values), classes: null };
  fillContours(mask, 0.5);
  expect(compare(mask.foreground, bytes('filled')).most).toBe(0);
  expect(compare(values, bytes('filled')).most).toBe(1);
});
