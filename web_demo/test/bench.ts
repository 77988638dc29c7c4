/**
 * Frames per second on a camera, this page beside MediaPipe's segmenter with the same clip, effect and size: npm run bench.
 *
 * Needs test/mediapipe.sh and a clip of a person in both sizes:
 *   for size in 1280x720 640x360; do python web_demo/golden.py --clip VIDEO --size $size --frames 60 --clip-only; done
 */

import { copyFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { test } from 'vitest';
import { attached, DIST, openPage, ROOT, serve } from './browser.ts';

const SIZES = [[1280, 720], [640, 360]] as const;
const SECONDS = 6;
const RESULT = join(ROOT, '..', 'benchmarks', 'results', 'web.json');
const MEDIAPIPE = join(ROOT, 'build', 'mediapipe');

/** Milliseconds of processor time that this process' descendants have had, of all cores. */
function processorTime(): number {
  const processes = new Map<number, { parent: number; ms: number }>();
  for (const id of readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number)) {
    try {
      const stat = readFileSync(`/proc/${id}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      processes.set(id, { parent: Number(fields[1]), ms: 10 * (Number(fields[11]) + Number(fields[12])) });
    } catch {
      // it ended
    }
  }
  const ours = (id: number): boolean => id === process.pid || (processes.has(id) && ours(processes.get(id)!.parent));
  return [...processes].reduce((sum, [id, { ms }]) => (id !== process.pid && ours(id) ? sum + ms : sum), 0);
}

async function measure(frames: () => Promise<number>) {
  const [first, processor, started] = [await frames(), processorTime(), performance.now()];
  await new Promise((later) => setTimeout(later, 1000 * SECONDS));
  const [count, seconds] = [(await frames()) - first, (performance.now() - started) / 1000];
  const round = (value: number) => Number(value.toFixed(1));
  return { frames_per_second: round(count / seconds), processor_ms_per_frame: round((processorTime() - processor) / count), frames: count, load_before: round(loadavg()[0]) };
}

async function ours(effect: string, width: number, height: number): Promise<object> {
  const server = await serve(DIST);
  // Beside the page's column the picture has as many pixels as the camera.
  const { context, version, close } = await attached(clip(width, height), { width: width + 32 + 340, height: height + 32 });
  try {
    const page = await openPage(context, server.url);
    await page.evaluate((effect) => {
      for (const id of ['show-stats', `effect-${effect}`]) document.getElementById(id)!.click();
    }, effect);
    const row = (name: string) => page.locator(`#stats dt:text-is("${name}") + dd`).innerText({ timeout: 90_000 });
    const frames = async () => Number(/\d+/.exec(await row('Frames')));
    await settled(frames);
    const measured = await measure(frames);
    const ms = async (name: string) => Number.parseFloat(await row(name));
    return {
      ...{ page: 'PocketSeg', browser: `Chromium ${version}`, effect, model: await page.evaluate(() => document.documentElement.dataset.model) },
      ...{ processor: await row('Processor'), picture: await row('Picture'), ...measured },
      ...{ latency_ms: await ms('Frame to screen'), network_ms: await ms('Network'), reading_ms: await ms('Reading the picture'), drawing_ms: await ms('Drawing') },
    };
  } finally {
    await close();
    server.close();
  }
}

async function theirs(delegate: string, effect: string, width: number, height: number): Promise<object> {
  const model = 'selfie_segmentation_landscape.tflite';
  copyFileSync(join(ROOT, 'test', 'mediapipe.html'), join(MEDIAPIPE, 'index.html'));
  const server = await serve(MEDIAPIPE);
  const { context, version, close } = await attached(clip(width, height), { width, height });
  const facts = { page: '@mediapipe/tasks-vision 1.1.0, drawConfidenceMask', browser: `Chromium ${version}`, effect, model, processor: delegate };
  try {
    const page = await context.newPage();
    await page.goto(`${server.url}?${new URLSearchParams({ delegate, effect, model, width: `${width}`, height: `${height}` })}`);
    await page.waitForFunction(() => (window as any).frames > 0 || (window as any).problem, undefined, { timeout: 90_000 });
    const problem = await page.evaluate(() => (window as any).problem as string | undefined);
    if (problem) return { ...facts, problem };
    const frames = () => page.evaluate(() => (window as any).frames as number);
    await settled(frames);
    return { ...facts, picture: await page.evaluate(() => (window as any).picture as string), ...(await measure(frames)) };
  } finally {
    await close();
    server.close();
  }
}

const clip = (width: number, height: number) => join(ROOT, 'build', 'bench', `${width}x${height}.y4m`);

/** Past its first frames, when shaders are compiled and the drawn size has settled; at most 5 seconds. */
async function settled(frames: () => Promise<number>) {
  for (const started = performance.now(); (await frames()) < 60 && performance.now() - started < 5000; )
    await new Promise((later) => setTimeout(later, 250));
}

test('frames per second', { timeout: 600_000 }, async () => {
  const machine = { processor: cpus()[0].model, cores: availableParallelism(), system: `${process.platform} ${process.arch}`, date: new Date().toISOString().slice(0, 10) };
  const runs: object[] = [];
  for (const [width, height] of SIZES)
    for (const run of [
      ...['colour', 'blur'].map((effect) => () => ours(effect, width, height)),
      ...['CPU', 'GPU'].map((delegate) => () => theirs(delegate, 'colour', width, height)),
      () => theirs('CPU', 'blur', width, height),
    ]) {
      runs.push({ camera: `${width} × ${height}`, ...(await run()) });
      console.log(runs.at(-1));
    }
  const facts = { camera: 'fed from a clip of 30 frames per second', seconds: SECONDS, graphics: 'none: Chromium without a GPU, WebGL by SwiftShader', machine };
  writeFileSync(RESULT, `${JSON.stringify({ ...facts, runs }, null, 1)}\n`);
});
