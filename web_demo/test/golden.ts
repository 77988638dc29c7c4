/** The vectors that golden.py wrote. */

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { GOLDEN } from './browser.ts';

if (!existsSync(join(GOLDEN, 'golden.json'))) throw new Error('No golden vectors: run python web_demo/golden.py first.');
const index = JSON.parse(readFileSync(join(GOLDEN, 'golden.json'), 'utf8')) as Record<string, { dtype: string; shape: number[] }>;

export function golden(name: string) {
  const { dtype, shape } = index[name];
  const bytes = readFileSync(join(GOLDEN, `${name}.bin`));
  const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);
  const values = dtype === 'float32' ? new Float32Array(copy) : new Uint8Array(copy);
  return { values, shape };
}

export const floats = (name: string) => golden(name).values as Float32Array;
export const bytes = (name: string) => golden(name).values as Uint8Array;
export const has = (name: string) => name in index;

/** RGBA of RGB. */
export function rgba(rgb: Uint8Array): Uint8Array {
  const out = new Uint8Array((rgb.length / 3) * 4).fill(255);
  for (let i = 0, j = 0; i < rgb.length; i += 3, j += 4) out.set(rgb.subarray(i, i + 3), j);
  return out;
}

/** The largest and the mean absolute difference of two lists of numbers. */
export function compare(found: ArrayLike<number>, expected: ArrayLike<number>) {
  if (found.length !== expected.length) throw new Error(`${found.length} values, expected ${expected.length}`);
  let [most, sum] = [0, 0];
  for (let i = 0; i < found.length; i++) {
    const less = Math.abs(found[i] - expected[i]);
    most = Math.max(most, less);
    sum += less;
  }
  return { most, mean: sum / found.length };
}
