import { expect, test } from 'vitest';
import { hasBackground, hasParts, parseSpec } from '../src/spec.ts';
import { json } from './model.ts';

test('what the spec says is what counts, what it leaves out has the defaults of Python', () => {
  const spec = parseSpec({ ...json(), threshold: 0.4, smoothing: 0.3, fill_contours: true });
  expect(spec).toMatchObject({ threshold: 0.4, smoothing: 0.3, fill: 'all', input: { width: 6, height: 4 }, output: { zeroPoint: 128 } });
  expect(parseSpec({ ...json(), fill_contours: 'largest' }).fill).toBe('largest');
  expect(parseSpec(json())).toMatchObject({ threshold: 0.5, smoothing: 0.8, fill: null, accuracy: null });
});

test.each([
  ['int8', { input: { ...json().input, dtype: 'int8' } }, /--io uint8/],
  ['another format', { format: 2 }, /format 2/],
  ['BGR', { input: { ...json().input, color_order: 'BGR' } }, /BGR/],
  ['no labels', { labels: undefined }, /labels or colours missing for 2 classes/],
  ['an unknown activation', { output: { ...json().output, activation: 'tanh' } }, /activation tanh/],
  ['a smoothing that never lets go', { smoothing: 1 }, /smoothing 1/],
  ['contours that nobody knows', { fill_contours: 'some' }, /fill_contours some/],
  ['no size', { input: { ...json().input, width: undefined } }, /width undefined/],
  ['no model at all', { output: undefined }, /./],
])('a spec of %s is refused in words', (_, change, words) => {
  expect(() => parseSpec({ ...json(), ...change })).toThrow(words);
});

test('streets have no background to replace, body parts do, an edge is no part', () => {
  const of = (...labels: string[]) =>
    parseSpec({ ...json(), labels, colors: labels.map(() => [1, 2, 3]), output: { ...json().output, classes: labels.length, activation: 'softmax' } });
  expect([of('sky', 'road', 'car')].map((spec) => [hasParts(spec), hasBackground(spec)])).toEqual([[true, false]]);
  expect([of('background', 'head', 'body')].map((spec) => [hasParts(spec), hasBackground(spec)])).toEqual([[true, true]]);
  expect(hasParts(of('background', 'person', 'edge'))).toBe(false);
});
