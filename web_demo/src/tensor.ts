/** Between pixels and the network's numbers: pure functions, the same as the project's Python. */

import { type Fill, hasParts, type ModelSpec } from './spec.ts';

/** The network's input of RGBA pixels at its input size. */
export function packInput(rgba: Uint8Array, spec: ModelSpec): Uint8Array | Float32Array {
  const { dtype, scale, zeroPoint, height, width } = spec.input;
  const packed = dtype === 'uint8' ? new Uint8ClampedArray(3 * height * width) : new Float32Array(3 * height * width);
  // The real value of a byte is its 1/255.
  const value = Float32Array.from({ length: 256 }, (_, byte) =>
    dtype === 'uint8' ? Math.round(byte / 255 / scale) + zeroPoint : byte / 255);
  for (let from = 0, to = 0; to < packed.length; from += 4) {
    packed[to++] = value[rgba[from]];
    packed[to++] = value[rgba[from + 1]];
    packed[to++] = value[rgba[from + 2]];
  }
  return dtype === 'uint8' ? new Uint8Array(packed.buffer) : (packed as Float32Array);
}

/** RGBA at another size, byte for byte what cv2.resize(INTER_LINEAR) makes: weights of 11 bits, and its rounding. */
export function resize(rgba: Uint8ClampedArray | Uint8Array, width: number, height: number, columns: number, rows: number): Uint8Array {
  const out = new Uint8Array(4 * rows * columns);
  const place = (i: number, from: number, to: number) => {
    const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const low = Math.min(Math.floor(at), Math.max(0, from - 2));
    return [low, Math.min(low + 1, from - 1), Math.round((at - low) * 2048)];
  };
  const across = Array.from({ length: columns }, (_, x) => place(x, width, columns));
  for (let row = 0, to = 0; row < rows; row++) {
    const [top, bottom, down] = place(row, height, rows);
    for (let column = 0; column < columns; column++) {
      const [left, right, along] = across[column];
      const [a, b, c, d] = [4 * (top * width + left), 4 * (top * width + right), 4 * (bottom * width + left), 4 * (bottom * width + right)];
      for (let i = 0; i < 4; i++) {
        const high = (rgba[a + i] * (2048 - along) + rgba[b + i] * along) >> 4;
        const low = (rgba[c + i] * (2048 - along) + rgba[d + i] * along) >> 4;
        out[to++] = (((high * (2048 - down)) >> 16) + ((low * down) >> 16) + 2) >> 2;
      }
    }
  }
  return out;
}

/** A video's frame as decoders give it: luma, then Cb and Cr in turn at half the size (NV12). */
export interface Planes {
  width: number;
  height: number;
  data: Uint8Array;
  /** Column by column, of (Y, Cb, Cr, 1), all 0-1. */
  toRgb: number[];
}

/** The matrix of BT.709 or BT.601, in full range or limited to 16-235. */
export function yuvToRgb(bt709: boolean, fullRange: boolean): number[] {
  const [red, blue] = bt709 ? [0.2126, 0.0722] : [0.299, 0.114];
  const [y, c, black] = fullRange ? [1, 1, 0] : [255 / 219, 255 / 224, 16 / 255];
  const [cr, cb, green] = [2 * (1 - red) * c, 2 * (1 - blue) * c, 1 - red - blue];
  const [gb, gr] = [(-blue * cb) / green, (-red * cr) / green];
  const offset = (u: number, v: number) => -y * black - ((u + v) * 128) / 255;
  return [y, y, y, 0, 0, gb, cb, 0, cr, gr, 0, 0, offset(0, cr), offset(gb, gr), offset(cb, 0), 1];
}

/** RGBA at another size, bilinear as cv2.resize, of a video's frame. */
export function shrinkPlanes({ width, height, data, toRgb: m }: Planes, columns: number, rows: number): Uint8Array {
  const rgba = new Uint8ClampedArray(4 * rows * columns);
  const stride = 2 * ((width + 1) >> 1);
  const place = (i: number, from: number, to: number) => {
    const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const low = Math.min(Math.floor(at), Math.max(0, from - 2));
    return [low, Math.min(low + 1, from - 1), at - low];
  };
  const across = Array.from({ length: columns }, (_, x) => place(x, width, columns));
  for (let row = 0, to = 0; row < rows; row++) {
    const [top, bottom, down] = place(row, height, rows);
    const [top2, bottom2] = [width * height + (top >> 1) * stride, width * height + (bottom >> 1) * stride];
    for (let column = 0; column < columns; column++, to += 4) {
      const [left, right, along] = across[column];
      const [a, b, c, d] = [(1 - down) * (1 - along), (1 - down) * along, down * (1 - along), down * along];
      const [l, r] = [left & ~1, right & ~1];
      const y = a * data[top * width + left] + b * data[top * width + right] + c * data[bottom * width + left] + d * data[bottom * width + right];
      const u = a * data[top2 + l] + b * data[top2 + r] + c * data[bottom2 + l] + d * data[bottom2 + r];
      const v = a * data[top2 + l + 1] + b * data[top2 + r + 1] + c * data[bottom2 + l + 1] + d * data[bottom2 + r + 1];
      rgba[to] = m[0] * y + m[8] * v + 255 * m[12];
      rgba[to + 1] = m[1] * y + m[5] * u + m[9] * v + 255 * m[13];
      rgba[to + 2] = m[2] * y + m[6] * u + 255 * m[14];
      rgba[to + 3] = 255;
    }
  }
  return new Uint8Array(rgba.buffer);
}

export interface Mask {
  width: number;
  height: number;
  /** The probability, 0-1, that a pixel is no background. */
  foreground: Float32Array;
  /** The likeliest class of each pixel, where there are more than background and foreground. */
  classes: Uint8Array | null;
}

/** What the network's output (height, width, channels) says. */
export function readOutput(values: Uint8Array | Float32Array, spec: ModelSpec): Mask {
  const { height, width, channels, scale, zeroPoint, dtype } = spec.output;
  const real = (value: number) => (value - zeroPoint) * scale;
  const foreground = new Float32Array(height * width);
  const classes = hasParts(spec) ? new Uint8Array(height * width) : null;
  const mask = { width, height, foreground, classes };
  if (spec.kind === 'labels') {
    foreground.forEach((_, i) => (foreground[i] = values[i] > 0 ? 1 : 0));
    classes?.set(values);
  } else if (channels === 1) {
    const one = spec.kind === 'logits' ? (value: number) => sigmoid(real(value)) : real;
    const table = dtype === 'uint8' ? Float32Array.from({ length: 256 }, (_, byte) => one(byte)) : null;
    for (let i = 0; i < foreground.length; i++) foreground[i] = table ? table[values[i]] : one(values[i]);
  } else if (spec.kind === 'probabilities') {
    likeliest(values, channels, (i, best, start) => {
      foreground[i] = 1 - real(values[start]);
      if (classes) classes[i] = best - start;
    });
  } else {
    // exp of a stored value less the largest: 256 differences are all there are.
    const table = dtype === 'uint8' ? Float32Array.from({ length: 256 }, (_, less) => Math.exp(-less * scale)) : null;
    likeliest(values, channels, (i, best, start) => {
      let sum = 0;
      for (let c = start; c < start + channels; c++)
        sum += table ? table[values[best] - values[c]] : Math.exp(values[c] - values[best]);
      const background = table ? table[values[best] - values[start]] : Math.exp(values[start] - values[best]);
      foreground[i] = 1 - background / sum;
      if (classes) classes[i] = best - start;
    });
  }
  return mask;
}

function likeliest(values: Uint8Array | Float32Array, channels: number, take: (i: number, best: number, start: number) => void) {
  for (let i = 0, start = 0; start < values.length; i++, start += channels) {
    let best = start;
    for (let c = start + 1; c < start + channels; c++) if (values[c] > values[best]) best = c;
    take(i, best, start);
  }
}

const sigmoid = (logit: number) => 1 / (1 + Math.exp(-Math.min(30, Math.max(-30, logit))));

export interface Region {
  /** Shares of the picture's width and height. */
  left: number;
  top: number;
  right: number;
  bottom: number;
  /** 1: foreground, -1: background, 0: an edge may be there. */
  sure: number;
}
const TILE = 8; // pixels of a mask: more than the guided filter looks aside

/**
 * The picture in rectangles, by what the mask says around them: sure where all of it is within 1/50 of 0 or 1. There the
 * guided filter's lines are flatter than 0.01 / (2 sqrt(0.001)), so that opacity is 0 or 1 whatever the photo's pixel is.
 */
export function regions({ width, height, foreground }: Mask, threshold: number): Region[] {
  if (Math.abs(threshold - 0.5) > 0.1) return [{ left: 0, top: 0, right: 1, bottom: 1, sure: 0 }];
  const [columns, rows] = [Math.ceil(width / TILE), Math.ceil(height / TILE)];
  const high = new Uint8Array(columns * rows); // of each tile: whether there is more than sure background,
  const low = new Uint8Array(columns * rows); // and less than sure foreground
  for (let y = 0, i = 0; y < height; y++)
    for (let x = 0; x < width; x++, i++) {
      const tile = Math.floor(y / TILE) * columns + Math.floor(x / TILE);
      if (foreground[i] > 0.02) high[tile] = 1;
      if (foreground[i] < 0.98) low[tile] = 1;
    }
  const around = (flags: Uint8Array, row: number, column: number) => {
    for (let y = Math.max(0, row - 1); y <= Math.min(rows - 1, row + 1); y++)
      for (let x = Math.max(0, column - 1); x <= Math.min(columns - 1, column + 1); x++) if (flags[y * columns + x]) return true;
    return false;
  };
  const found: Region[] = [];
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) {
      const sure = !around(low, row, column) ? 1 : !around(high, row, column) ? -1 : 0;
      const right = Math.min(1, ((column + 1) * TILE) / width);
      const last = found.at(-1);
      if (column > 0 && last!.sure === sure) last!.right = right;
      else found.push({ left: (column * TILE) / width, top: (row * TILE) / height, right, bottom: Math.min(1, ((row + 1) * TILE) / height), sure });
    }
  return found;
}

const MOTION = 6 / 255; // change of brightness from which on the new mask is taken whole

/** Calm masks of one video: keras_models/smoothing.py. What stands still in the picture keeps its mask, what moves not. */
export class Smoothing {
  private brightness: Float32Array | null = null;
  private mask: Float32Array | null = null;

  /** The next picture has nothing to do with those before. */
  reset(): void {
    this.brightness = this.mask = null;
  }

  /** Mixes up to `share` of the previous mask into `mask`; `rgba`, `width` by `height`, is what the network saw. */
  apply(mask: Mask, rgba: Uint8Array, width: number, height: number, share: number): void {
    const brightness = boxBrightness(rgba, width, height);
    const [before, kept] = [this.brightness, this.mask];
    const now = mask.foreground;
    if (before && kept?.length === now.length && before.length === brightness.length) {
      const same = now.length === brightness.length;
      for (let i = 0; i < now.length; i++) {
        const at = same ? i : width * Math.floor((Math.floor(i / mask.width) * height) / mask.height) + Math.floor(((i % mask.width) * width) / mask.width);
        const moved = Math.abs(brightness[at] - before[at]) / MOTION;
        if (moved < 1) now[i] += (kept[i] - now[i]) * share * (1 - moved);
      }
    }
    this.brightness = brightness;
    this.mask = now.slice();
  }
}

/** BT.601 luma, 0-1: means over windows of a hundredth of the longer side to each side, mirrored at the border. */
function boxBrightness(rgba: Uint8Array, width: number, height: number): Float32Array {
  const radius = Math.max(1, Math.round(Math.max(width, height) / 100));
  const grey = new Float32Array(width * height);
  for (let i = 0, j = 0; i < grey.length; i++, j += 4) grey[i] = (0.299 * rgba[j] + 0.587 * rgba[j + 1] + 0.114 * rgba[j + 2]) / 255;
  const rows = new Float32Array(width * height);
  means(grey, rows, width, height, 1, width, radius);
  means(rows, grey, height, width, width, 1, radius);
  return grey;
}

/** Sliding means of `lines` lines of `length` values each, `step` from value to value and `stride` from line to line. */
export function means(from: Float32Array, to: Float32Array, length: number, lines: number, step: number, stride: number, radius: number): void {
  const mirrored = (at: number) => Math.min(length - 1, Math.max(0, length - 1 - Math.abs(length - 1 - Math.abs(at))));
  const share = 1 / (2 * radius + 1);
  const inner = Math.max(radius, length - radius - 1);
  for (let line = 0; line < lines; line++) {
    const start = line * stride;
    let sum = 0;
    for (let i = -radius; i <= radius; i++) sum += from[start + mirrored(i) * step];
    let i = 0;
    const on = (end: number) => {
      for (; i < end; i++) {
        to[start + i * step] = sum * share;
        sum += from[start + mirrored(i + radius + 1) * step] - from[start + mirrored(i - radius) * step];
      }
    };
    on(Math.min(radius, length));
    for (let at = start + i * step; i < inner; i++, at += step) {
      to[at] = sum * share;
      sum += from[at + (radius + 1) * step] - from[at - radius * step];
    }
    on(length);
  }
}

/**
 * 1 where an outer contour of the foreground encloses background, what no path of 4 neighbours joins to the border: of all
 * contours, or of the one that encloses the largest area, as `cv2.contourArea` measures it.
 */
export function fillContours({ width, height, foreground }: Mask, threshold: number, fill: Fill): void {
  const OUTSIDE = -1;
  const region = new Int32Array(width * height); // 0: not seen yet
  const stack: number[] = [];
  const visit = (i: number, open: boolean, name: number) => {
    if (region[i] !== 0 || !open) return;
    region[i] = name;
    stack.push(i);
  };
  const background = (i: number) => visit(i, foreground[i] < threshold, OUTSIDE);
  for (let x = 0; x < width; x++) (background(x), background((height - 1) * width + x));
  for (let y = 0; y < height; y++) (background(y * width), background((y + 1) * width - 1));
  for (let i = stack.pop(); i !== undefined; i = stack.pop()) {
    if (i % width > 0) background(i - 1);
    if (i % width < width - 1) background(i + 1);
    if (i >= width) background(i - width);
    if (i < width * (height - 1)) background(i + width);
  }
  let largest = 0;
  if (fill === 'largest') {
    let count = 0;
    for (let start = 0; start < region.length; start++) {
      if (region[start] === 0) visit(start, true, ++count);
      for (let i = stack.pop(); i !== undefined; i = stack.pop())
        for (let y = Math.max(0, Math.floor(i / width) - 1); y <= Math.min(height - 1, Math.floor(i / width) + 1); y++)
          for (let x = Math.max(0, (i % width) - 1); x <= Math.min(width - 1, (i % width) + 1); x++) visit(y * width + x, true, count);
    }
    // The contour runs through the middles of its pixels: four neighbours in a square hold 1 of its area, three a half.
    const area = new Float64Array(count + 1);
    for (let y = 0; y < height - 1; y++)
      for (let x = 0; x < width - 1; x++) {
        const square = [0, 1, width, width + 1].map((step) => region[y * width + x + step]).filter((name) => name !== OUTSIDE);
        if (square.length > 2) area[square[0]] += square.length === 4 ? 1 : 0.5;
      }
    largest = area.indexOf(Math.max(...area.subarray(1)), 1);
  }
  for (let i = 0; i < foreground.length; i++)
    if (foreground[i] < threshold && region[i] !== OUTSIDE && (fill === 'all' || region[i] === largest)) foreground[i] = 1;
}
