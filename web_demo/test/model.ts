/** A spec as tflite/convert.py writes it. */
export const json = () => ({
  format: 1,
  name: 'a-network',
  description: 'Finds people.',
  licence: 'Apache-2.0',
  input: { height: 4, width: 6, channels: 3, dtype: 'uint8', scale: 1 / 255, zero_point: 0, color_order: 'RGB' },
  output: { height: 4, width: 6, classes: 1, dtype: 'uint8', scale: 0.1, zero_point: 128, kind: 'logits', activation: 'sigmoid' },
  labels: ['background', 'person'],
  colors: [[0, 0, 0], [40, 200, 90]],
});
