/** The built page in Chromium, from python -m http.server: a camera fed from a clip, photos, videos, no network. */

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Download, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { browse, DIST, GOLDEN, openPage, ROOT, serve } from './browser.ts';
import { bytes, compare, golden, has } from './golden.ts';

let server: Awaited<ReturnType<typeof serve>>;
let browser: Awaited<ReturnType<typeof browse>>;
let page: Page;
const asked: string[] = [];
const problems: string[] = [];
const photo = join(GOLDEN, 'photo.png');
const models = JSON.parse(readFileSync(join(DIST, 'models', 'models.json'), 'utf8')) as { file: string }[];

beforeAll(async () => {
  server = await serve(DIST);
  browser = await browse(join(GOLDEN, 'clip.y4m'), { viewport: { width: 1280, height: 800 } });
  browser.context.on('request', (request) => asked.push(request.url()));
  browser.context.on('page', (page) => page.on('pageerror', (error) => problems.push(error.message)));
  page = await openPage(browser.context, server.url);
});
afterAll(async () => {
  await browser?.close();
  server?.close();
});

const choose = (effect: string) => page.locator(`label:has(#effect-${effect})`).click();
/** A switch of the sheet; its frame is closed again. */
async function set(id: string, on: boolean) {
  await page.locator('#more').click();
  await page.locator(`#${id}`).setChecked(on);
  await page.locator('#close').click();
}
async function openFile(file: string | { name: string; mimeType: string; buffer: Buffer }) {
  const chooser = page.waitForEvent('filechooser');
  await page.locator('#open').click();
  await (await chooser).setFiles(file);
}
const frames = async () => Number(/(\d+),/.exec(await page.locator('#stats dt:text-is("Frames") + dd').innerText({ timeout: 20_000 }))![1]);
const reached = (count: number) =>
  page.waitForFunction((count) => Number(/Frames\n(\d+),/.exec(document.getElementById('stats')!.innerText)?.[1]) >= count, count, { timeout: 120_000 });

async function saved(): Promise<Buffer> {
  const download = page.waitForEvent('download');
  await page.locator('#save').click();
  return content(await download);
}
async function content(download: Download): Promise<Buffer> {
  return readFileSync(await download.path());
}

/** RGBA of a PNG, row by row. */
async function decoded(png: Buffer) {
  const values = await page.evaluate(async (base64) => {
    const blob = new Blob([Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0))], { type: 'image/png' });
    const bitmap = await createImageBitmap(blob, { premultiplyAlpha: 'none' });
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d')!;
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    let text = '';
    for (let i = 0; i < data.length; i += 4096) text += String.fromCharCode(...data.subarray(i, i + 4096));
    return { width: bitmap.width, height: bitmap.height, text: btoa(text) };
  }, png.toString('base64'));
  return { ...values, rgba: new Uint8Array(Buffer.from(values.text, 'base64')) };
}
const alphaOf = (rgba: Uint8Array) => rgba.filter((_, i) => i % 4 === 3);

/** Share of the pixels of either that both have, as opaque ones. */
function overlap(a: Uint8Array, b: Uint8Array): number {
  let [both, either] = [0, 0];
  a.forEach((value, i) => {
    both += Number(value > 127 && b[i] > 127);
    either += Number(value > 127 || b[i] > 127);
  });
  return either ? both / either : 1;
}

test('served by python -m http.server the page has threads and says what runs the network', async () => {
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  await page.locator('#more').click();
  expect(await page.locator('#processor').innerText()).toMatch(/^Now: CPU \(WebAssembly, \d+ threads?\)/);
  expect(await page.locator('#settings').innerText()).toContain('in this browser alone');
  await page.keyboard.press('Escape');
  expect(await page.locator('#settings').isVisible()).toBe(false);
});

test('a camera that is refused is explained, and photos still work', async () => {
  await page.locator('#start').click();
  await page.locator('#message').getByText('The camera is not allowed for this page').waitFor();
  expect(await page.locator('#open').isEnabled()).toBe(true);
});

test('without a camera the page says so', async () => {
  await page.evaluate(() => {
    const getUserMedia = navigator.mediaDevices.getUserMedia;
    navigator.mediaDevices.getUserMedia = async () => {
      navigator.mediaDevices.getUserMedia = getUserMedia;
      throw new DOMException('', 'NotFoundError');
    };
  });
  await page.locator('#start').click();
  await page.locator('#message').getByText('No camera was found').waitFor();
});

test.each(models)('a photo cut out by $file has the mask that Python gives it', async ({ file }) => {
  const name = file.replace('.tflite', '');
  await page.locator('#more').click();
  await page.locator('#model').selectOption(file);
  await page.waitForFunction((file) => document.documentElement.dataset.model === file, file, { timeout: 60_000 });
  await page.locator('#close').click();
  await set('refine', false);
  await set('show-stats', true);
  await openFile(photo);
  await reached(1);
  if (!has(`${name}/alpha`)) {
    expect(await page.locator('#effect-blur').isDisabled()).toBe(true);
    expect(await page.locator('#legend').isVisible()).toBe(true);
    return;
  }
  await choose('cutout');
  const plain = await decoded(await saved());
  const [height, width] = golden(`${name}/alpha`).shape;
  expect([plain.width, plain.height]).toEqual([width, height]);
  expect(compare(alphaOf(plain.rgba), bytes(`${name}/alpha`)).mean).toBeLessThan(1.5);
  expect(overlap(alphaOf(plain.rgba), bytes(`${name}/alpha`))).toBeGreaterThan(0.98);
  await set('refine', true);
  const refined = await decoded(await saved());
  expect(overlap(alphaOf(refined.rgba), bytes(`${name}/alpha-refined`))).toBeGreaterThan(0.96);
});

test('the camera runs, its frames are counted, and a frame has the mask that Python gives it', async () => {
  await browser.context.grantPermissions(['camera']);
  const name = models[0].file.replace('.tflite', '');
  await page.locator('#more').click();
  await page.locator('#model').selectOption(models[0].file);
  await page.locator('#smoothing').fill('0');
  await page.locator('#close').click();
  await page.locator('#camera').click();
  await set('refine', false);
  await set('mirror', false);
  await reached(5);
  await cutOutIsPythons(name);
});

/** That the picture shown, of the clip, is cut out as Python cuts out one of its frames. */
async function cutOutIsPythons(name: string) {
  const { shape: [count, height, width] } = golden(`${name}/clip`);
  const { rgba, ...size } = await decoded(await saved());
  expect([size.width, size.height]).toEqual([width, height]);
  const masks = Array.from({ length: count }, (_, i) => bytes(`${name}/clip`).subarray(i * width * height, (i + 1) * width * height));
  const best = Math.max(...masks.map((mask) => overlap(alphaOf(rgba), mask)));
  expect(best).toBeGreaterThan(0.9); // between two of the frames that Python looked at
}

test('where there is a GPU, WebGL draws the camera with the same mask', async () => {
  const other = page;
  page = await openPage(browser.context, `${server.url}?draw=webgl`);
  await page.waitForFunction(() => !document.getElementById('picture')!.hidden);
  expect(await page.evaluate(() => (document.getElementById('picture') as HTMLCanvasElement).getContext('2d'))).toBeNull();
  await reached(5);
  await cutOutIsPythons(models[0].file.replace('.tflite', ''));
  await page.close();
  page = other;
});

/** tests/test_web.py looks into these with OpenCV. */
function keep(name: string, video: Buffer) {
  mkdirSync(join(ROOT, 'build', 'recorded'), { recursive: true });
  writeFileSync(join(ROOT, 'build', 'recorded', name), video);
}

test('what is recorded from the camera is a video that the page converts from its start to its end', async () => {
  await choose('colour');
  await page.locator('label:has(#colour-Green)').click();
  await page.locator('#record').click();
  await reached((await frames()) + 8);
  const recorded = page.waitForEvent('download');
  await page.locator('#record').click();
  const video = await content(await recorded);
  keep('camera.webm', video);
  await page.locator('label:has(#colour-White)').click();
  await openFile({ name: 'recorded.webm', mimeType: 'video/webm', buffer: video });
  await page.waitForFunction(() => document.getElementById('camera')!.title === 'Camera');
  await reached(3);
  const converted = page.waitForEvent('download', { timeout: 120_000 });
  await page.locator('#record').click();
  keep('converted.webm', await content(await converted)); // it ends without a second press
});

test('every effect is reached with the keyboard alone', async () => {
  await page.locator('#effect-blur').focus();
  for (const effect of ['background', 'colour', 'cutout', 'mask']) {
    await page.keyboard.press('ArrowRight');
    expect(await page.locator(`#effect-${effect}`).isChecked()).toBe(true);
  }
  await page.keyboard.press('Tab');
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('open');
});

test.each([[320, 568], [360, 740], [740, 360], [1280, 800]])('nothing is cut off at %i x %i', async (width, height) => {
  await page.setViewportSize({ width, height });
  for (const effect of ['blur', 'background', 'colour']) {
    await choose(effect);
    const cut = await page.evaluate(() => {
      const outside = ({ left, right, top, bottom }: DOMRect) => left < -0.5 || right > innerWidth + 0.5 || top < -0.5 || bottom > innerHeight + 0.5;
      return [...document.querySelectorAll('#effects label, #actions button')].filter((part) => outside(part.getBoundingClientRect())).map((part) => part.outerHTML);
    });
    expect(cut).toEqual([]);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
});

test('a file that is no picture is refused in words', async () => {
  await openFile({ name: 'notes.txt', mimeType: 'text/plain', buffer: Buffer.from('hello') });
  await page.locator('#message').getByText('This picture cannot be read here').waitFor();
});

test('WebGPU, in software, gives the mask of the CPU and is given up because it is slower', async () => {
  const gpu = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader', '--enable-features=Vulkan'];
  const { context, close } = await browse(null, {}, gpu);
  await context.addInitScript(() => localStorage.setItem('settings', '{"model": "pocketnet-s-int8.tflite"}'));
  try {
    const other = await context.newPage();
    await other.goto(server.url);
    await other.waitForFunction(() => document.documentElement.dataset.processor, undefined, { timeout: 200_000 });
    expect(await other.locator('#processor').textContent()).toMatch(/^Now: (GPU \(WebGPU\)|CPU .*WebGPU took \d+ ms, the CPU \d+ ms)/);
  } finally {
    await close();
  }
});

test('once loaded the page works without a network, and nothing ever went elsewhere', async () => {
  server.close();
  await browser.context.setOffline(true);
  await page.reload();
  await page.waitForFunction(() => document.documentElement.dataset.processor, undefined, { timeout: 60_000 });
  await openFile(photo);
  await reached(1);
  expect(asked.filter((url) => !/^(blob|data):/.test(url) && !url.startsWith(server.url))).toEqual([]);
  expect(problems).toEqual([]);
});
