/**
 * What the shaders of renderer.ts compute, by the processor alone, for machines without a GPU: there a canvas of numbers
 * is shown in a fifth of the time of WebGL in software. Pixels are RGBA in 32 bits, red the lowest.
 */

import { cover, type Drawing, type Look, resized, type Size, type Source, type Taken } from './drawing.ts';
import { type Mask, means, regions, resize } from './tensor.ts';

/** A picture on its way, with what the network saw of it. */
export interface Painted {
  picture: ImageData;
  small: Size & { rgba: Uint8Array };
}

/** Slope and offset of the mask's local lines, at the mask's size. */
interface Lines extends Size {
  slope: Float32Array;
  offset: Float32Array;
}

const SHORT = 1 / 255;

export class Painter implements Drawing<Painted> {
  readonly maxSide = 8192;
  private readonly context: CanvasRenderingContext2D;
  private readonly slots: ImageData[] = [];
  private out = new ImageData(1, 1);
  private colors: number[][] = [];
  private background: ImageBitmap | HTMLCanvasElement | null = null;
  private behind: { key: string; pixels: Uint32Array } | null = null;

  constructor(readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext('2d', { willReadFrequently: true })!; // in the processor's memory
  }

  async take(source: Source, width: number, height: number, slot: number, input: Size | null): Promise<Taken<Painted>> {
    let picture = this.slots[slot];
    if (picture?.width !== width || picture.height !== height) picture = this.slots[slot] = new ImageData(width, height);
    if (!(await copied(source, picture))) {
      const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
      if (source instanceof ImageData) context.putImageData(source, 0, 0);
      else context.drawImage(source as CanvasImageSource, 0, 0, width, height);
      picture = this.slots[slot] = context.getImageData(0, 0, width, height);
    }
    const size = { width: input?.width ?? 1, height: input?.height ?? 1 };
    const rgba = resize(picture.data, width, height, size.width, size.height);
    const shot = { picture, small: { rgba: rgba.slice(), ...size } }; // the network takes the other's memory
    return { input: rgba, shot: () => shot };
  }

  setBackground(source: (ImageBitmap | HTMLCanvasElement) | null): void {
    this.background = source;
    this.behind = null;
  }

  setPalette(colors: number[][]): void {
    this.colors = colors;
  }

  /** Always at the picture's full size: the browser scales what it shows. */
  show({ picture, small }: Painted, mask: Mask | null, look: Look): void {
    const { width, height } = picture;
    if (this.out.width !== width || this.out.height !== height) this.out = new ImageData(width, height);
    resized(this.canvas, width, height);
    const from = new Uint32Array(picture.data.buffer);
    const to = new Uint32Array(this.out.data.buffer);
    if (!mask || look.effect === 'none') to.set(from);
    else if (look.effect === 'parts') paintParts(from, to, width, height, mask, this.colors);
    else paint(from, to, width, height, fitted(small, mask, look.refine), mask, look, this.scene(width, height, look));
    if (look.mirror) for (let row = 0; row < to.length; row += width) to.subarray(row, row + width).reverse();
    this.context.putImageData(this.out, 0, 0);
  }

  async finished(): Promise<void> {} // nothing is ever left to do

  /** The background's pixels at a picture's size, mirrored where the picture will be; null without one. */
  private scene(width: number, height: number, { effect, mirror }: Look): Uint32Array | null {
    const { background } = this;
    if (effect !== 'background' || !background) return null;
    const key = `${width} ${height} ${mirror}`;
    if (this.behind?.key !== key) {
      const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true })!;
      if (mirror) context.setTransform(-1, 0, 0, 1, width, 0);
      const [columns, rows] = cover(width, height, background).map((share, i) => share * (i ? background.height : background.width));
      context.drawImage(background, (background.width - columns) / 2, (background.height - rows) / 2, columns, rows, 0, 0, width, height);
      this.behind = { key, pixels: new Uint32Array(context.getImageData(0, 0, width, height).data.buffer) };
    }
    return this.behind.pixels;
  }
}

/** Whether the browser gave a video's pixels as RGBA, the quickest way where it can. */
async function copied(source: Source, picture: ImageData): Promise<boolean> {
  if (!(source instanceof HTMLVideoElement) || !('VideoFrame' in globalThis)) return false;
  const frame = new VideoFrame(source);
  try {
    const { width, height } = frame.visibleRect!;
    if (width !== picture.width || height !== picture.height) return false; // turned by its player
    await frame.copyTo(picture.data, { format: 'RGBA', colorSpace: 'srgb' });
    return true;
  } catch {
    return false;
  } finally {
    frame.close();
  }
}

/** The lines mask = slope * grey + offset that fit each window best (the guided filter), or the mask itself. */
function fitted(small: Painted['small'], { width, height, foreground }: Mask, refine: boolean): Lines {
  const count = width * height;
  if (!refine) return { width, height, slope: new Float32Array(count), offset: foreground };
  const same = small.width === width && small.height === height;
  const rgba = same ? small.rgba : resize(small.rgba, small.width, small.height, width, height);
  const radius = Math.max(1, Math.round(Math.max(width, height) / 100));
  const planes = [0, 1, 2, 3].map(() => new Float32Array(count));
  const [g, p, gp, gg] = planes;
  for (let i = 0, at = 0; i < count; i++, at += 4) {
    const grey = (0.299 * rgba[at] + 0.587 * rgba[at + 1] + 0.114 * rgba[at + 2]) * SHORT - 0.5;
    g[i] = grey;
    p[i] = foreground[i];
    gp[i] = grey * foreground[i];
    gg[i] = grey * grey;
  }
  const rows = new Float32Array(count);
  const average = (plane: Float32Array) => {
    means(plane, rows, width, height, 1, width, radius);
    means(rows, plane, height, width, width, 1, radius);
  };
  planes.forEach(average);
  const [slope, offset] = [gp, p];
  for (let i = 0; i < count; i++) {
    slope[i] = (gp[i] - g[i] * p[i]) / (Math.max(gg[i] - g[i] * g[i], 0) + 1e-3);
    offset[i] = p[i] - slope[i] * g[i];
  }
  average(slope);
  average(offset);
  return { width, height, slope, offset };
}

/** Between which two of `from` values each of `to` lies, and how near to the second. */
function places(from: number, to: number) {
  const low = new Uint16Array(to);
  const part = new Float32Array(to);
  for (let i = 0; i < to; i++) {
    const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    low[i] = Math.min(Math.floor(at), Math.max(0, from - 2));
    part[i] = at - low[i];
  }
  return { low, part };
}

/** Row `y` of a plane that is stretched down, the first value once more in front and the last behind. */
function between(plane: Float32Array, width: number, height: number, y: number, { low, part }: ReturnType<typeof places>, row: Float32Array): void {
  const top = low[y] * width;
  const bottom = top + (height > 1 ? width : 0);
  for (let x = 0; x < width; x++) row[x + 1] = plane[top + x] + (plane[bottom + x] - plane[top + x]) * part[y];
  row[0] = row[1];
  row[width + 1] = row[width];
}

const packed = ([red, green, blue]: number[]) => (255 << 24) | (Math.round(255 * blue) << 16) | (Math.round(255 * green) << 8) | Math.round(255 * red);

/** The picture `from` with an effect, into `to`. `scene`: what is behind people, where that is a picture. */
function paint(from: Uint32Array, to: Uint32Array, width: number, height: number, lines: Lines, mask: Mask, look: Look, scene: Uint32Array | null): void {
  const { effect, threshold } = look;
  const across = places(lines.width, width);
  const down = places(lines.height, height);
  const blur = effect === 'blur' ? new Blur(from, width, height, lines, look) : null;
  const paint = packed(look.paint);
  const row = new Uint32Array(width).fill(paint); // what is behind
  const [slopes, offsets] = [new Float32Array(lines.width + 2), new Float32Array(lines.width + 2)];
  for (const { left, top, right, bottom, sure } of regions(mask, threshold)) {
    const [x0, x1] = [Math.round(left * width), Math.round(right * width)];
    const [y0, y1] = [Math.round(top * height), Math.round(bottom * height)];
    const copied = effect === 'mask' ? sure < 0 : sure > 0;
    for (let y = y0; y < y1; y++) {
      const start = y * width;
      if (copied) {
        to.set(from.subarray(start + x0, start + x1), start + x0);
        continue;
      }
      const again = blur?.strong && (y - y0) % 2 === 1; // two rows of a strong blur differ by less than can be seen
      if (sure < 0) {
        if (again) to.copyWithin(start + x0, start + x0 - width, start + x1 - width);
        else if (blur) blur.row(y, x0, x1, to, start);
        else if (scene) to.set(scene.subarray(start + x0, start + x1), start + x0);
        else to.fill(effect === 'cutout' ? 0 : paint, start + x0, start + x1);
        continue;
      }
      if (blur && !again) blur.row(y, x0, x1, row, 0);
      if (scene) row.set(scene.subarray(start + x0, start + x1), x0);
      between(lines.slope, lines.width, lines.height, y, down, slopes);
      between(lines.offset, lines.width, lines.height, y, down, offsets);
      mix(from, to, start, x0, x1, across, slopes, offsets, row, effect, threshold);
    }
  }
}

/** Pixels of a row where the photo meets what is behind it. */
function mix(from: Uint32Array, to: Uint32Array, start: number, x0: number, x1: number, { low, part }: ReturnType<typeof places>,
  slopes: Float32Array, offsets: Float32Array, behind: Uint32Array, effect: Look['effect'], threshold: number): void {
  for (let x = x0; x < x1; x++) {
    const front = from[start + x];
    const r = front & 255;
    const g = (front >> 8) & 255;
    const b = (front >> 16) & 255;
    const at = low[x];
    const slope = slopes[at + 1] + (slopes[at + 2] - slopes[at + 1]) * part[x];
    const offset = offsets[at + 1] + (offsets[at + 2] - offsets[at + 1]) * part[x];
    const value = slope * ((0.299 * r + 0.587 * g + 0.114 * b) * SHORT - 0.5) + offset;
    const clear = ((value < 0 ? 0 : value > 1 ? 1 : value) - threshold) * 2.5 + 0.5;
    let share = (clear < 0 ? 0 : clear > 1 ? 1 : clear) * 256 + 0.5 | 0;
    if (effect === 'cutout') {
      to[start + x] = (front & 0xffffff) | (Math.min(255, share) << 24);
      continue;
    }
    if (effect === 'mask') share = 256 - (share >> 1);
    const back = behind[x];
    const red = (back & 255) + (((r - (back & 255)) * share + 128) >> 8);
    const green = ((back >> 8) & 255) + (((g - ((back >> 8) & 255)) * share + 128) >> 8);
    const blue = ((back >> 16) & 255) + (((b - ((back >> 16) & 255)) * share + 128) >> 8);
    to[start + x] = red | (green << 8) | (blue << 16) | (255 << 24);
  }
}

/** The background in small, blurred; each colour counted as far as it is background, so that nobody's outline glows. */
class Blur {
  private readonly planes: Float32Array[]; // red, green, blue
  private readonly width: number;
  private readonly height: number;
  private readonly down: ReturnType<typeof places>;
  private readonly step: number;
  private readonly rows: Float32Array[]; // of each colour, the first value once more in front and the last behind
  private now = -1; // the row that is in `rows`
  readonly strong: boolean;

  constructor(from: Uint32Array, width: number, height: number, lines: Lines, { blur, threshold }: Look) {
    const sigma = blur * Math.max(width, height);
    const factor = Math.max(1, sigma / 2.8);
    const [columns, rows] = [width, height].map((side) => Math.max(1, Math.round(side / factor)));
    const planes = [0, 1, 2, 3].map(() => new Float32Array(columns * rows));
    // Four by four pixels stand for those that become one.
    const taps = (count: number, from: number) => Uint16Array.from({ length: 4 * count }, (_, i) => ((i + 0.5) * from) / (4 * count));
    const [across, across2, down, down2] = [taps(columns, width), taps(columns, lines.width), taps(rows, height), taps(rows, lines.height)];
    for (let y = 0; y < 4 * rows; y++) {
      const [start, start2] = [down[y] * width, down2[y] * lines.width];
      for (let x = 0, i = (y >> 2) * columns; x < 4 * columns; x++) {
        const pixel = from[start + across[x]];
        const r = pixel & 255;
        const g = (pixel >> 8) & 255;
        const b = (pixel >> 16) & 255;
        const line = start2 + across2[x];
        const value = lines.slope[line] * ((0.299 * r + 0.587 * g + 0.114 * b) * SHORT - 0.5) + lines.offset[line];
        const clear = ((value < 0 ? 0 : value > 1 ? 1 : value) - threshold) * 2.5 + 0.5;
        const weight = 1.001 - (clear < 0 ? 0 : clear > 1 ? 1 : clear);
        const to = i + (x >> 2);
        planes[0][to] += weight * r;
        planes[1][to] += weight * g;
        planes[2][to] += weight * b;
        planes[3][to] += weight;
      }
    }
    const halves = Float32Array.from({ length: 9 }, (_, i) => Math.exp(-0.5 * ((i * factor) / sigma) ** 2));
    const other = new Float32Array(columns * rows);
    for (const plane of planes) {
      gauss(plane, other, columns, rows, 1, columns, halves);
      gauss(other, plane, rows, columns, columns, 1, halves);
    }
    const weights = planes.pop()!;
    for (const plane of planes) for (let i = 0; i < plane.length; i++) plane[i] /= weights[i];
    this.planes = planes;
    [this.width, this.height, this.down] = [columns, rows, places(rows, height)];
    this.step = columns / width;
    this.strong = factor > 3;
    this.rows = planes.map(() => new Float32Array(columns + 2));
  }

  /** Pixels `x0` to `x1` of row `y`, at the picture's size, into `to` from `start` on. */
  row(y: number, x0: number, x1: number, to: Uint32Array, start: number): void {
    const [reds, greens, blues] = this.rows;
    if (this.now !== y) this.planes.forEach((plane, i) => between(plane, this.width, this.height, y, this.down, this.rows[i]));
    this.now = y;
    // Between two values colours grow evenly: sums of 1/65536.
    for (let x = x0; x < x1; ) {
      const at = (x + 0.5) * this.step + 0.5;
      const low = Math.floor(at);
      const end = Math.min(x1, Math.max(x + 1, Math.ceil((low + 0.5) / this.step - 0.5)));
      const [left, step] = [at - low, 65536 * this.step];
      const [red1, green1, blue1] = [reds[low + 1] - reds[low], greens[low + 1] - greens[low], blues[low + 1] - blues[low]];
      let red = (65536 * (reds[low] + left * red1) + 32768) | 0;
      let green = (65536 * (greens[low] + left * green1) + 32768) | 0;
      let blue = (65536 * (blues[low] + left * blue1) + 32768) | 0;
      const [red2, green2, blue2] = [(step * red1) | 0, (step * green1) | 0, (step * blue1) | 0];
      for (; x < end; x++) {
        to[start + x] = (red >> 16) | ((green >> 8) & 0xff00) | (blue & 0xff0000) | (255 << 24);
        red += red2;
        green += green2;
        blue += blue2;
      }
    }
  }
}

/** One direction of a Gaussian: `halves` from the middle outwards; the sum is not made 1. */
function gauss(from: Float32Array, to: Float32Array, length: number, lines: number, step: number, stride: number, halves: Float32Array): void {
  for (let line = 0; line < lines; line++)
    for (let i = 0; i < length; i++) {
      const start = line * stride;
      let sum = halves[0] * from[start + i * step];
      for (let reach = 1; reach < halves.length; reach++)
        sum += halves[reach] * (from[start + Math.max(0, i - reach) * step] + from[start + Math.min(length - 1, i + reach) * step]);
      to[start + i * step] = sum;
    }
}

/** Each class in its colour, a black one as the photo is; between four pixels of the mask the likeliest by their weights. */
function paintParts(from: Uint32Array, to: Uint32Array, width: number, height: number, mask: Mask, colors: number[][]): void {
  const classes = mask.classes ?? new Uint8Array(mask.width * mask.height);
  const across = places(mask.width, width);
  const down = places(mask.height, height);
  const tints = Uint32Array.from({ length: 256 }, (_, i) => (colors[i]?.some(Boolean) ? packed(colors[i].map((value) => value / 255)) : 0));
  const [right, below] = [mask.width > 1 ? 1 : 0, mask.height > 1 ? mask.width : 0];
  for (let y = 0, i = 0; y < height; y++) {
    const top = down.low[y] * mask.width;
    const low = down.part[y];
    for (let x = 0; x < width; x++, i++) {
      const at = top + across.low[x];
      const a = classes[at];
      const b = classes[at + right];
      const c = classes[at + below];
      const d = classes[at + below + right];
      let best = a;
      if (a !== b || a !== c || a !== d) {
        const along = across.part[x];
        const shares = [(1 - along) * (1 - low), along * (1 - low), (1 - along) * low, along * low];
        const names = [a, b, c, d];
        let most = -1;
        for (const name of names) {
          let votes = 0;
          for (let j = 0; j < 4; j++) if (names[j] === name) votes += shares[j];
          if (votes > most) [most, best] = [votes, name];
        }
      }
      const tint = tints[best];
      const front = from[i];
      to[i] = tint ? ((front & tint) + (((front ^ tint) & 0xfefefefe) >>> 1)) | (255 << 24) : front; // half of each
    }
  }
}
