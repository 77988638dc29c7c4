/** What the page asks of whoever draws: renderer.ts by WebGL 2, painter.ts where no GPU is. */

import type { Ran } from './segmenter.ts';
import type { Mask, Planes } from './tensor.ts';

export interface Look {
  effect: 'none' | 'blur' | 'background' | 'colour' | 'cutout' | 'mask' | 'parts';
  /** The blur's sigma as a share of the longer side. */
  blur: number;
  /** RGB 0-1: what is behind, or the mask's tint. */
  paint: [number, number, number];
  refine: boolean;
  threshold: number;
  mirror: boolean;
}

export type Size = { width: number; height: number };
export type Source = HTMLVideoElement | ImageBitmap | ImageData;

export type Shot = { picture: Size };
/** A picture that was taken in: what the network gets, and the shot, once the network has answered. */
export interface Taken<S extends Shot> {
  input: Uint8Array | Planes;
  shot(answer?: Ran): S;
}

/** `S`: a picture on its way, kept until its own mask is there, so that both are shown in step. */
export interface Drawing<S extends Shot> {
  readonly canvas: HTMLCanvasElement;
  /** The longest side of a picture that can be drawn. */
  readonly maxSide: number;
  /** Takes a picture in, with its pixels at the network's `input` size; `slot` says whose place it takes. */
  take(source: Source, width: number, height: number, slot: number, input: Size | null): Promise<Taken<S>>;
  /** Draws a picture with its mask, `scale` times its size where that saves work; without a mask, the picture alone. */
  show(shot: S, mask: Mask | null, look: Look, scale?: number): void;
  /** When all that was drawn is done. */
  finished(): Promise<void>;
  /** The picture behind people, or null. */
  setBackground(source: (ImageBitmap | HTMLCanvasElement) | null): void;
  /** RGB 0-255 of each class; black ones are left as they are. */
  setPalette(colors: number[][]): void;
}

/** The shares of a background's width and height that are seen where it covers a picture and keeps its shape. */
export function cover(width: number, height: number, background: Size): [number, number] {
  const larger = Math.max(width / background.width, height / background.height);
  return [width / (background.width * larger), height / (background.height * larger)];
}

/** Gives the canvas as many pixels; the page's style needs its shape. */
export function resized(canvas: HTMLCanvasElement, width: number, height: number): void {
  if (canvas.width === width && canvas.height === height) return;
  Object.assign(canvas, { width, height });
  canvas.style.setProperty('--shape', `${width / height}`);
}
