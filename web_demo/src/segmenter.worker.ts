/** The network beside the page: opens models, runs them one picture after the other, keeps the previous mask. */

import { type CompiledModel, isWebGPUSupported, loadAndCompile, loadLiteRt, supportsFeature, Tensor, unloadLiteRt } from '@litertjs/core';
import type { Answer, Request } from './segmenter.ts';
import type { ModelSpec } from './spec.ts';
import { fillContours, type Mask, packInput, readOutput, shrinkPlanes, Smoothing } from './tensor.ts';

let loaded: boolean | undefined; // whether for WebGPU
let threads = 1;
let model: CompiledModel | undefined;
let spec: ModelSpec;
const smoothing = new Smoothing();

/**
 * LiteRT.js from the page's own folder. Its build that can wait for WebGPU has no threads; the one with threads is taken
 * where the page is isolated and the browser has what they need.
 */
async function load(folder: string, gpu: boolean): Promise<void> {
  const may = !gpu && self.crossOriginIsolated && (await supportsFeature('threads')) && (await supportsFeature('relaxedSimd'));
  // A processor is left to the page and one to the drawing, which has none of its own where there is no GPU.
  threads = may ? Math.min(4, Math.max(1, navigator.hardwareConcurrency - 2)) : 1;
  // Emscripten would look beside this worker, and start its threads with it.
  const options = { locateFile: (name: string) => folder + name, mainScriptUrlOrBlob: `${folder}litert_wasm_threaded_internal.js` };
  Object.assign(self, { Module: options });
  if (loaded !== undefined) unloadLiteRt();
  await loadLiteRt(folder, { threads: threads > 1, jspi: gpu });
  loaded = gpu;
}

async function open(request: Extract<Request, { kind: 'open' }>): Promise<Pick<Answer, 'processor' | 'reason'>> {
  model?.delete();
  model = undefined;
  smoothing.reset();
  spec = request.spec;
  const reason = request.gpu ? await openOnGpu(request) : 'as chosen';
  if (!reason) return { processor: 'GPU (WebGPU)' };
  if (loaded !== false) await load(request.wasm, false);
  model = await compile(request.model, 'wasm');
  return { processor: `CPU (WebAssembly, ${threads} ${threads > 1 ? 'threads' : 'thread'})`, reason };
}

/** Opens the model on the GPU if all of it runs there, gives the mask that the CPU gives and is no slower; else says why not. */
async function openOnGpu({ wasm, model: bytes }: Extract<Request, { kind: 'open' }>): Promise<string> {
  if (!isWebGPUSupported() || !(await navigator.gpu.requestAdapter())) return 'there is no WebGPU';
  if (!(await supportsFeature('jspi'))) return 'this browser cannot wait for WebGPU in WebAssembly (JSPI)';
  let cpu: CompiledModel | undefined;
  let gpu: CompiledModel | undefined;
  try {
    if (loaded !== true) await load(wasm, true);
    cpu = await compile(bytes, 'wasm');
    gpu = await compile(bytes, 'webgpu');
    if (!gpu.isFullyAccelerated) throw new Error('WebGPU does not know all its operations');
    const picture = Uint8Array.from({ length: 4 * spec.input.width * spec.input.height }, (_, i) => 128 + 100 * Math.sin(i / 999));
    const [a, b] = [await infer(cpu, picture), await infer(gpu, picture)];
    const difference = a.mask.foreground.reduce((sum, value, i) => sum + Math.abs(value - b.mask.foreground[i]), 0);
    if (!(difference / a.mask.foreground.length < 0.02)) throw new Error('WebGPU gave another mask');
    const [slow, fast] = [await infer(cpu, picture), await infer(gpu, picture)];
    if (fast.ms > 1.5 * slow.ms) throw new Error(`WebGPU took ${fast.ms.toFixed()} ms, the CPU ${slow.ms.toFixed()} ms`);
    model = gpu;
    return '';
  } catch (error) {
    gpu?.delete();
    return error instanceof Error ? error.message : String(error);
  } finally {
    cpu?.delete();
  }
}

async function compile(bytes: Uint8Array, accelerator: 'wasm' | 'webgpu'): Promise<CompiledModel> {
  const compiled = await loadAndCompile(bytes, { accelerator, cpuOptions: { numThreads: threads } });
  for (const [side, details, tensor] of [
    ['input', compiled.getInputDetails(), spec.input],
    ['output', compiled.getOutputDetails(), spec.output],
  ] as const) {
    const expected = `1,${tensor.height},${tensor.width},${tensor.channels} ${tensor.dtype}`;
    const found = details.map(({ shape, dtype }) => `${[...shape]} ${dtype}`).join(' and ');
    if (found !== expected) throw new Error(`The model's ${side} is ${found}; its spec says ${expected}.`);
  }
  return compiled;
}

async function infer(compiled: CompiledModel, rgba: Uint8Array): Promise<{ mask: Mask; ms: number }> {
  const started = performance.now();
  const input = new Tensor(packInput(rgba, spec) as Uint8Array<ArrayBuffer>, [1, spec.input.height, spec.input.width, 3]);
  let outputs: Tensor[] = [];
  try {
    outputs = await compiled.run(input);
    const values = (await outputs[0].data()) as Uint8Array | Float32Array;
    return { mask: readOutput(values, spec), ms: performance.now() - started };
  } finally {
    input.delete();
    for (const output of outputs) output.delete();
  }
}

async function run(request: Extract<Request, { kind: 'run' }>): Promise<Answer> {
  if (!model) throw new Error('No model is open.');
  const planes = request.picture instanceof Uint8Array ? undefined : request.picture;
  const rgba = planes ? shrinkPlanes(planes, spec.input.width, spec.input.height) : (request.picture as Uint8Array);
  const { mask, ms } = await infer(model, rgba);
  if (request.fresh || request.smoothing === 0) smoothing.reset();
  if (request.smoothing > 0) smoothing.apply(mask, rgba, spec.input.width, spec.input.height, request.smoothing);
  if (request.fill) fillContours(mask, spec.threshold, request.fill);
  return { id: request.id, mask, ms, ...(planes && { planes, small: rgba }) };
}

let queue = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Request>) => {
  queue = queue.then(async () => {
    try {
      const answer: Answer = data.kind === 'open' ? { id: data.id, ...(await open(data)) } : await run(data);
      self.postMessage(answer, { transfer: answer.planes ? [answer.planes.data.buffer as ArrayBuffer] : [] });
    } catch (error) {
      self.postMessage({ id: data.id, problem: error instanceof Error ? error.message : String(error) } satisfies Answer);
    }
  });
};
