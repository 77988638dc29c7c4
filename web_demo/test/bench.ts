/**
 * Frames per second on a 720p camera, this page beside MediaPipe's segmenter: npm run bench.
 *
 * Needs a clip of a person at 1280x720 (golden.py --clip VIDEO --size 1280x720 --frames 60) and test/mediapipe.sh. On a
 * machine that has other work, a slow camera (--rate 1) still tells the processor time that a frame takes. Each rate has
 * its own entry in the result's file.
 */

import { copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { test } from 'vitest';
import { attached, DIST, GOLDEN, openPage, ROOT, serve } from './browser.ts';

const RATE = Number(/ F(\d+):1 /.exec(readFileSync(join(GOLDEN, 'clip.y4m')).toString('latin1', 0, 80))![1]);
const SECONDS = RATE < 10 ? 24 : 8;
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

async function ours(effect: string): Promise<object> {
  const server = await serve(DIST);
  // The picture has 1280 x 720 pixels of its own on the screen.
  const { context, version, close } = await attached(join(GOLDEN, 'clip.y4m'), { width: 1280 + 32 + 340, height: 720 + 32 });
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
      ...{ latency_ms: await ms('Frame to screen'), network_ms: await ms('Network'), reading_ms: await ms('Reading the picture') },
    };
  } finally {
    await close();
    server.close();
  }
}

async function theirs(delegate: string, model: string): Promise<object> {
  copyFileSync(join(ROOT, 'test', 'mediapipe.html'), join(MEDIAPIPE, 'index.html'));
  const server = await serve(MEDIAPIPE);
  const { context, version, close } = await attached(join(GOLDEN, 'clip.y4m'), { width: 1280, height: 720 });
  try {
    const page = await context.newPage();
    await page.goto(`${server.url}?delegate=${delegate}&model=${model}`);
    await page.waitForFunction(() => (window as any).frames > 0, undefined, { timeout: 90_000 });
    const frames = () => page.evaluate(() => (window as any).frames as number);
    await settled(frames);
    const measured = await measure(frames);
    return { page: '@mediapipe/tasks-vision 1.1.0, drawConfidenceMask', browser: `Chromium ${version}`, effect: 'colour', model, processor: delegate, picture: '1280 × 720', ...measured };
  } catch (error) {
    return { page: '@mediapipe/tasks-vision 1.1.0', model, processor: delegate, problem: (error as Error).message.split('\n')[0] };
  } finally {
    await close();
    server.close();
  }
}

/** Past its first frames, when shaders are compiled and the drawn size has settled; at most 15 seconds. */
async function settled(frames: () => Promise<number>) {
  for (const started = performance.now(); (await frames()) < 3 * RATE && performance.now() - started < 10_000; )
    await new Promise((later) => setTimeout(later, 250));
}

test('frames per second', { timeout: 600_000 }, async () => {
  const machine = { processor: cpus()[0].model, cores: availableParallelism(), system: `${process.platform} ${process.arch}`, date: new Date().toISOString().slice(0, 10) };
  const others = existsSync(RESULT) ? JSON.parse(readFileSync(RESULT, 'utf8')) : {};
  const runs: object[] = [];
  const todo = [() => ours('colour'), () => ours('blur')];
  const model = 'selfie_segmentation_landscape.tflite';
  if (existsSync(join(MEDIAPIPE, model))) todo.splice(1, 0, () => theirs('CPU', model), () => theirs('GPU', model));
  for (const run of todo) {
    runs.push(await run());
    console.log(runs.at(-1));
    const now = { camera: '1280 × 720, fed from a clip', seconds: SECONDS, drawing: 'WebGL by SwiftShader', machine, runs };
    writeFileSync(RESULT, `${JSON.stringify({ ...others, [`camera of ${RATE} frames per second`]: now }, null, 1)}\n`);
  }
});
