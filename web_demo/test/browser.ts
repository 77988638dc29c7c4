/** Debian's Chromium and the one server that the built page needs, for the tests and the benchmark. */

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type BrowserContext, chromium } from 'playwright-core';

export const ROOT = join(import.meta.dirname, '..');
export const DIST = join(ROOT, 'dist');
export const GOLDEN = join(ROOT, 'build', 'golden');
const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find(existsSync);

/** WebGL in software is allowed, for the shaders and for MediaPipe; all else is the browser's own way without a GPU. */
const FLAGS = [
  ...['--no-sandbox', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update'],
  ...['--disable-sync', '--enable-unsafe-swiftshader', '--use-fake-device-for-media-stream'],
];

/**
 * A browser for timings: of this process' session, as its processor time is shared out by session. Its camera shows
 * `clip` and is allowed.
 */
export async function attached(clip: string, viewport: { width: number; height: number }) {
  const profile = mkdtempSync(join(tmpdir(), 'pocketseg-'));
  const flags = [...FLAGS, '--headless=new', '--use-fake-ui-for-media-stream', `--use-file-for-fake-video-capture=${clip}`];
  const child = spawn(CHROMIUM!, [...flags, `--user-data-dir=${profile}`, '--remote-debugging-port=0'], { stdio: ['ignore', 'ignore', 'pipe'] });
  const address = await new Promise<string>((found) => {
    let said = '';
    child.stderr!.on('data', (text) => {
      said += text;
      const [socket] = /ws:\/\/\S+/.exec(said) ?? [];
      if (socket) found(socket);
    });
  });
  const browser = await chromium.connectOverCDP(address);
  const context = await browser.newContext({ viewport });
  await context.grantPermissions(['camera']);
  const close = async () => {
    await browser.close();
    const ended = new Promise((done) => child.once('exit', done));
    child.kill();
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 9, retryDelay: 200 });
  };
  return { context, version: browser.version(), close };
}

/** A browser with a profile of its own whose camera shows `clip` (a .y4m), or that has none; `close` also tidies up. */
export async function browse(clip: string | null, options: Parameters<typeof chromium.launchPersistentContext>[1] = {}, flags: string[] = []) {
  if (!CHROMIUM) throw new Error('No Chromium: apt-get install chromium');
  const profile = mkdtempSync(join(tmpdir(), 'pocketseg-'));
  const camera = clip ? [`--use-file-for-fake-video-capture=${clip}`] : ['--use-fake-device-for-media-stream=device-count=0'];
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: CHROMIUM,
    args: [...FLAGS, ...camera, ...flags],
    headless: true,
    acceptDownloads: true,
    ...options,
  });
  const close = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, close };
}

/** `python -m http.server` in a folder, as the README says. */
export async function serve(folder: string): Promise<{ url: string; close: () => void }> {
  const port = await freePort();
  const server: ChildProcess = spawn('python3', ['-m', 'http.server', String(port), '--bind', '127.0.0.1', '--directory', folder], { stdio: 'ignore' });
  const url = `http://127.0.0.1:${port}/`;
  for (let tries = 0; tries < 100; tries++) {
    try {
      await fetch(url);
      return { url, close: () => server.kill() };
    } catch {
      await new Promise((later) => setTimeout(later, 100));
    }
  }
  throw new Error('python -m http.server does not answer.');
}

function freePort(): Promise<number> {
  return new Promise((done) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number };
      server.close(() => done(port));
    });
  });
}

/** The page, past its first visit's reload, with the model open. */
export async function openPage(context: BrowserContext, url: string) {
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForFunction(() => document.documentElement.dataset.processor, undefined, { timeout: 60_000 });
  return page;
}
