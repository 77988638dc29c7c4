import { expect, test } from 'vitest';
import { type ModelSpec, parseSpec } from '../src/spec.ts';
import { fillContours, packInput, readOutput, regions, shrinkPlanes, Smoothing, yuvToRgb } from '../src/tensor.ts';
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

test("a video's planes become the colours that they stand for, whatever their range", () => {
  const planes = (y: number, cb: number, cr: number, bt709: boolean, full: boolean) => {
    const data = Uint8Array.from({ length: 8 * 6 * 1.5 }, (_, i) => (i < 48 ? y : i % 2 ? cr : cb));
    return [...shrinkPlanes({ width: 8, height: 6, data, toRgb: yuvToRgb(bt709, full) }, 3, 2).subarray(0, 4)];
  };
  expect(planes(235, 128, 128, false, false)).toEqual([255, 255, 255, 255]);
  expect(planes(16, 128, 128, true, false)).toEqual([0, 0, 0, 255]);
  expect(planes(81, 90, 240, false, false)).toEqual([254, 0, 0, 255]); // BT.601's red
  expect(planes(63, 102, 240, true, false)).toEqual([255, 1, 0, 255]); // BT.709's
  expect(planes(100, 128, 128, true, true)).toEqual([100, 100, 100, 255]);
});

test("a video's luma is resized as cv2.resize does", () => {
  const photo = bytes('photo'); // 97 x 71: without its last row and column
  const [width, height] = [70, 96];
  const grey = Uint8Array.from({ length: width * height }, (_, i) => photo[3 * (Math.floor(i / width) * 71 + (i % width))]);
  const data = new Uint8Array(width * height * 1.5).fill(128);
  data.set(grey);
  const found = shrinkPlanes({ width, height, data, toRgb: yuvToRgb(true, true) }, 35, 48);
  const middle = grey[0] / 4 + grey[1] / 4 + grey[width] / 4 + grey[width + 1] / 4;
  expect(Math.abs(found[0] - middle)).toBeLessThan(1);
});

test('a sure mask is drawn in large pieces, and an edge is never taken for sure', () => {
  const [width, height] = [64, 48];
  const foreground = Float32Array.from({ length: width * height }, (_, i) => (i % width < 20 ? 1 : 0));
  const found = regions({ width, height, foreground, classes: null }, 0.5);
  const area = found.reduce((sum, { left, right, top, bottom }) => sum + (right - left) * (bottom - top), 0);
  expect(area).toBeCloseTo(1);
  for (const { left, right, sure } of found) {
    if (sure > 0) expect(right * width).toBeLessThanOrEqual(20 - 8);
    if (sure < 0) expect(left * width).toBeGreaterThanOrEqual(20 + 8);
  }
  expect(found.some(({ sure }) => sure < 0)).toBe(true);
  expect(regions({ width, height, foreground, classes: null }, 0.9)).toHaveLength(1);
});

test.each([['all', 'blobs', 'filled'], ['largest', 'blobs', 'filled-largest'], ['largest', 'wire', 'wire-filled']] as const)(
  'what contours enclose is filled as OpenCV fills it: %s of %s',
  (fill, name, expected) => {
    const { values, shape: [height, width] } = golden(name);
    const mask = { width, height, foreground: Float32Array.from(values), classes: null };
    fillContours(mask, 0.5, fill);
    expect(compare(mask.foreground, bytes(expected)).most).toBe(0);
    expect(compare(values, bytes(expected)).most).toBe(1);
  },
);
