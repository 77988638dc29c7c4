/** Both ways of drawing against the project's Python: the shaders in Chromium's software WebGL, and the processor. */

import { createServer, type ViteDevServer } from 'vite';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Look } from '../src/drawing.ts';
import { browse, ROOT } from './browser.ts';
import { bytes, compare, floats, golden, rgba } from './golden.ts';

let server: ViteDevServer;
let browser: Awaited<ReturnType<typeof browse>>;
let page: Page;

beforeAll(async () => {
  server = await createServer({ root: ROOT, mode: 'test', logLevel: 'error', server: { port: 0, hmr: false, ws: false } });
  await server.listen();
  const url = server.resolvedUrls!.local[0];
  browser = await browse(null);
  page = await browser.context.newPage();
  await page.route('**/blank', (route) => route.fulfill({ contentType: 'text/html', body: '<title>blank</title>' }));
  await page.goto(`${url}blank`);
  // As text: Vitest rewrites imports of its own files.
  await page.evaluate(`Promise.all([import('${url}src/renderer.ts'), import('${url}src/painter.ts')]).then(([{ Renderer }, { Painter }]) => {
    const canvas = () => document.createElement('canvas');
    window.drawings = { WebGL: Renderer.open(canvas(), true), processor: new Painter(canvas()) };
    window.refused = Renderer.open(canvas());
  })`);
});
afterAll(async () => {
  await browser?.close();
  await server?.close();
});

const LOOK: Look = { effect: 'cutout', blur: 0.03, paint: [0, 0, 0], refine: false, threshold: 0.5, mirror: false };

type Way = 'WebGL' | 'processor';
interface Job {
  /** RGBA; travels as Base64, like the mask's floats: Playwright takes seconds for long lists of numbers. */
  photo: Uint8Array;
  width: number;
  height: number;
  input: { width: number; height: number };
  look?: Look;
  mask?: { width: number; height: number; foreground: Float32Array; classes: number[] | null };
  colors?: number[][];
}

/** The network's input and, with a mask, the drawn RGBA picture, both with their first row first. */
async function draw(way: Way, job: Job): Promise<{ input: Uint8Array; drawn: Uint8Array }> {
  const base64 = ({ buffer, byteOffset, byteLength }: Uint8Array | Float32Array) => Buffer.from(buffer, byteOffset, byteLength).toString('base64');
  const sent = { ...job, way, photo: base64(job.photo), mask: job.mask && { ...job.mask, foreground: base64(job.mask.foreground) } };
  const { input, drawn } = await page.evaluate(async (job) => {
    const renderer = (window as any).drawings[job.way];
    const bytes = (text: string) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const photo = new ImageData(new Uint8ClampedArray(bytes(job.photo)), job.width, job.height);
    if (job.colors) renderer.setPalette(job.colors);
    const taken = await renderer.take(photo, job.width, job.height, 0, job.input);
    const text = (values: ArrayLike<number>) => Array.from(values, (value) => String.fromCharCode(value)).join('');
    if (!job.mask) return { input: text(taken.input), drawn: '' };
    const { foreground, classes, ...size } = job.mask;
    renderer.show(taken.shot(), { ...size, foreground: new Float32Array(bytes(foreground).buffer), classes: classes && new Uint8Array(classes) }, job.look);
    const flat = renderer.canvas.getContext('2d');
    if (flat) return { input: text(taken.input), drawn: text(flat.getImageData(0, 0, job.width, job.height).data) };
    const gl = renderer.canvas.getContext('webgl2');
    const pixels = new Uint8Array(4 * job.width * job.height);
    gl.readPixels(0, 0, job.width, job.height, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    const row = (y: number) => pixels.subarray(4 * job.width * y, 4 * job.width * (y + 1));
    const rows = Array.from({ length: job.height }, (_, y) => text(row(job.height - 1 - y)));
    return { input: text(taken.input), drawn: rows.join('') };
  }, sent);
  return { input: new Uint8Array(Buffer.from(input, 'latin1')), drawn: new Uint8Array(Buffer.from(drawn, 'latin1')) };
}

const channel = (pixels: Uint8Array, at: number) => Float32Array.from({ length: pixels.length / 4 }, (_, i) => pixels[4 * i + at]);
const rgb = (pixels: Uint8Array) => pixels.filter((_, i) => i % 4 < 3);
const scaled = (values: Float32Array) => values.map((value) => 255 * value);

function person(look: Partial<Look>): Job {
  const { values, shape: [height, width] } = golden('large');
  const mask = { width: 160, height: 160, foreground: floats('mask'), classes: null };
  return { photo: rgba(values as Uint8Array), width, height, input: { width: 160, height: 160 }, mask, look: { ...LOOK, ...look } };
}

describe.each<Way>(['WebGL', 'processor'])('drawn by %s', (way) => {
  test.each(['24x16', '97x71', '130x99', '1x1'])('a photo at the size %s is what OpenCV makes of it', async (size) => {
    const { values, shape: [height, width] } = golden('photo');
    const [rows, columns] = size.split('x').map(Number);
    const { input } = await draw(way, { photo: rgba(values as Uint8Array), width, height, input: { width: columns, height: rows } });
    const { most, mean } = compare(rgb(input), bytes(`resized-${size}`));
    expect(most).toBeLessThanOrEqual(1); // a place between two pixels has fewer digits in a float than in a double
    expect(mean).toBeLessThan(0.005);
  });

  test('the opacity without refinement is that of predict', async () => {
    const { most, mean } = compare(channel((await draw(way, person({}))).drawn, 3), scaled(floats('alpha')));
    expect(most).toBeLessThan(3);
    expect(mean).toBeLessThan(0.3);
  });

  test('the refined opacity is the fast guided filter, edges follow the photo', async () => {
    const { most, mean } = compare(channel((await draw(way, person({ refine: true }))).drawn, 3), scaled(floats('alpha-refined')));
    expect(most).toBeLessThan(6);
    expect(mean).toBeLessThan(0.5);
    expect(compare(floats('alpha'), floats('alpha-refined')).most).toBeGreaterThan(0.1); // it does something
  });

  test('the blurred background is that of predict, nobody glows', async () => {
    const { mean } = compare(rgb((await draw(way, person({ effect: 'blur' }))).drawn), bytes('blurred'));
    expect(mean).toBeLessThan(1);
  });

  test('the mask is tinted as predict tints it', async () => {
    const { drawn } = await draw(way, person({ effect: 'mask', paint: [40 / 255, 200 / 255, 90 / 255] }));
    expect(compare(rgb(drawn), bytes('tinted')).most).toBeLessThan(3);
  });

  test('classes are shown in their colours, a black one as the photo is', async () => {
    const photo = rgba(new Uint8Array(3 * 8 * 8).fill(100));
    const colors = [[0, 0, 0], [200, 0, 0], [0, 0, 200]];
    const mask = { width: 4, height: 1, foreground: Float32Array.of(0, 1, 1, 1), classes: [0, 0, 1, 2] };
    const { drawn } = await draw(way, { photo, width: 8, height: 8, input: { width: 4, height: 4 }, colors, mask, look: { ...LOOK, effect: 'parts' } });
    const row = (at: number) => [...channel(drawn, at).subarray(24, 32)];
    expect(row(0)).toEqual([100, 100, 100, 100, 150, 150, 50, 50]);
    expect(row(2)).toEqual([100, 100, 100, 100, 50, 50, 150, 150]);
  });

  test('a mirrored picture keeps its background unmirrored', async () => {
    const photo = rgba(Uint8Array.of(10, 10, 10, 20, 20, 20));
    const mask = { width: 2, height: 1, foreground: Float32Array.of(1, 0), classes: null };
    await page.evaluate((way) => {
      const canvas = Object.assign(document.createElement('canvas'), { width: 2, height: 1 });
      const context = canvas.getContext('2d')!;
      context.fillStyle = 'rgb(200 0 0)';
      context.fillRect(0, 0, 1, 1);
      (window as any).drawings[way].setBackground(canvas);
    }, way);
    const { drawn } = await draw(way, { photo, width: 2, height: 1, input: { width: 2, height: 1 }, mask, look: { ...LOOK, effect: 'background', mirror: true } });
    expect([...channel(drawn, 0)]).toEqual([200, 10]);
  });
});

test('without a GPU the page does not draw by WebGL', async () => {
  expect(await page.evaluate(() => [(window as any).refused, Boolean((window as any).drawings.WebGL)])).toEqual([null, true]);
});

test("a video's planes are drawn in the colours of its pixels", async () => {
  const drawn = await page.evaluate(() => {
    const renderer = (window as any).drawings.WebGL;
    const data = Uint8Array.from({ length: 24 }, (_, i) => (i < 16 ? 81 : i % 2 ? 240 : 90)); // BT.601's red
    const c = 255 / 224;
    const toRgb = [255 / 219, 255 / 219, 255 / 219, 0, 0, -0.344 * c, 1.772 * c, 0, 1.402 * c, -0.714 * c, 0, 0, -0.874, 0.532, -1.086, 1];
    const shot = renderer.takePlanes({ width: 4, height: 4, data, toRgb }, new Uint8Array(16), { width: 2, height: 2 });
    const mask = { width: 2, height: 2, foreground: new Float32Array([1, 1, 1, 1]), classes: null };
    const look = { effect: 'cutout', blur: 0.03, paint: [0, 0, 0], refine: false, threshold: 0.5, mirror: false };
    renderer.show(shot, mask, look);
    const gl = renderer.canvas.getContext('webgl2');
    const pixels = new Uint8Array(64);
    gl.readPixels(0, 0, 4, 4, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
    return [...pixels];
  });
  drawn.forEach((value: number, i: number) => expect(Math.abs(value - [255, 0, 0, 255][i % 4])).toBeLessThan(4));
});
