import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { defineConfig, type Plugin } from 'vitest/config';
import { parseSpec } from './src/spec.ts';

const root = import.meta.dirname;
const presets = join(root, '..', 'keras_models', 'presets');
const staticFiles = join(root, 'public');

const BEST = 'pocketnet-m';

const LARGEST = 2 << 20; // bytes of a preset that every visitor's browser keeps; a larger one is named

/** The files named after `vite build --`, then the presets' .tflite files, with their specs; the page opens the first. */
function models(): { tflite: string; spec: Record<string, unknown> }[] {
  const named = process.argv.includes('--') ? process.argv.slice(process.argv.indexOf('--') + 1) : [];
  const own = readdirSync(presets, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('.tflite') && statSync(join(presets, name)).size < LARGEST,
  );
  own.sort((a, b) => Number(dirname(b) === BEST) - Number(dirname(a) === BEST) || a.localeCompare(b));
  const found = [...named, ...own.map((name) => join(presets, name))].map((tflite) => {
    const file = tflite.replace(/\.tflite$/, '.json');
    if (!existsSync(tflite) || !existsSync(file)) throw new Error(`${tflite} and ${basename(file)} are needed, as tflite/convert.py writes them.`);
    const spec = JSON.parse(readFileSync(file, 'utf8'));
    if (createHash('sha256').update(readFileSync(tflite)).digest('hex') !== spec.sha256)
      throw new Error(`${file} describes another file than ${tflite}: the sha256 differs.`);
    return { tflite, spec };
  });
  return found.filter(({ tflite, spec }) => {
    try {
      return parseSpec(spec);
    } catch (error) {
      console.warn(`${basename(tflite)} is left out: ${(error as Error).message}`);
      return false;
    }
  });
}

/** Puts the models and LiteRT.js' WebAssembly among the static files, and every file's name into the service worker. */
function assets(): Plugin {
  return {
    name: 'pocketseg-assets',
    config() {
      const folder = join(staticFiles, 'models');
      rmSync(folder, { recursive: true, force: true });
      mkdirSync(folder, { recursive: true });
      const found = models();
      for (const { tflite } of found) cpSync(tflite, join(folder, basename(tflite)));
      const list = found.map(({ tflite, spec: { calibration, ...spec } }) => ({ file: basename(tflite), spec }));
      writeFileSync(join(folder, 'models.json'), JSON.stringify(list));
      cpSync(join(root, 'node_modules', '@litertjs', 'core', 'wasm'), join(staticFiles, 'wasm'), { recursive: true });
    },
    writeBundle({ dir }) {
      const files = readdirSync(dir!, { recursive: true, encoding: 'utf8' })
        .filter((name) => statSync(join(dir!, name)).isFile() && name !== 'sw.js')
        .map((name) => relative(dir!, join(dir!, name)).replaceAll('\\', '/'))
        .sort();
      const hash = createHash('sha256');
      for (const name of files) hash.update(name).update(readFileSync(join(dir!, name)));
      const shell = files.filter((name) => dirname(name) !== 'wasm'); // of its 9 MB variants a browser needs one
      const source = readFileSync(join(root, 'src', 'sw.js'), 'utf8');
      const facts = `const VERSION = '${hash.digest('hex').slice(0, 16)}';\nconst SHELL = ${JSON.stringify(['./', ...shell])};\n`;
      writeFileSync(join(dir!, 'sw.js'), facts + source);
    },
  };
}

export default defineConfig(({ mode }) => ({
  base: './',
  plugins: mode === 'test' ? [] : [assets()],
  build: { target: 'es2022', outDir: 'dist', chunkSizeWarningLimit: 700 },
  worker: { format: 'iife' }, // LiteRT.js loads its WebAssembly with importScripts there
  server: { headers: { 'Cross-Origin-Opener-Policy': 'same-origin', 'Cross-Origin-Embedder-Policy': 'require-corp' } },
  test: {
    include: [mode === 'bench' ? 'test/bench.ts' : 'test/*.test.ts'],
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
}));
