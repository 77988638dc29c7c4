/** The page's side of the network's worker. */

import Worker from './segmenter.worker.ts?worker';
import type { Fill, ModelSpec } from './spec.ts';
import type { Mask, Planes } from './tensor.ts';

/**
 * `wasm` is the folder of LiteRT.js' files; `gpu` allows WebGPU. `picture` is RGBA of the network's input size, or a
 * video's planes.
 */
export type Request = { id: number } & (
  | { kind: 'open'; wasm: string; model: Uint8Array; spec: ModelSpec; gpu: boolean }
  | ({ kind: 'run'; picture: Uint8Array | Planes } & MaskChoices)
);
export interface MaskChoices {
  /** Share of the previous mask that stays where the picture is still. */
  smoothing: number;
  fill: Fill | null;
  /** The picture has nothing to do with the previous one. */
  fresh: boolean;
}
export interface Answer {
  id: number;
  problem?: string;
  /** What runs the model, in words. */
  processor?: string;
  /** Why it is not the GPU. */
  reason?: string;
  mask?: Mask;
  /** Of a video's frame, with its RGBA at the network's input size. */
  planes?: Planes;
  small?: Uint8Array;
  /** Of packing, the network and reading its output. */
  ms?: number;
}

export type Ran = Answer & Required<Pick<Answer, 'mask' | 'ms'>>;

export class Segmenter {
  private readonly worker = new Worker();
  private readonly waiting = new Map<number, (answer: Answer) => void>();
  private next = 0;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      this.waiting.get(data.id)?.(data);
      this.waiting.delete(data.id);
    };
    this.worker.onerror = (event) => {
      for (const [id, answered] of this.waiting) answered({ id, problem: event.message || 'The network stopped.' });
      this.waiting.clear();
    };
  }

  /** Opens a model and tells what runs it. Rejects with a sentence for the person. */
  open(model: Uint8Array, spec: ModelSpec, gpu: boolean): Promise<Answer> {
    const wasm = new URL('wasm/', document.baseURI).href;
    return this.ask({ kind: 'open', wasm, model, spec, gpu });
  }

  /** The mask of RGBA pixels at the model's input size, or of a video's frame. Takes their memory; planes come back. */
  async run(picture: Uint8Array | Planes, choices: MaskChoices): Promise<Ran> {
    const { buffer } = picture instanceof Uint8Array ? picture : picture.data;
    return (await this.ask({ kind: 'run', picture, ...choices }, [buffer as ArrayBuffer])) as Ran;
  }

  private ask(request: Omit<Extract<Request, { kind: 'open' }>, 'id'> | Omit<Extract<Request, { kind: 'run' }>, 'id'>, moved: Transferable[] = []) {
    const id = this.next++;
    return new Promise<Answer>((resolve, reject) => {
      this.waiting.set(id, (answer) => (answer.problem ? reject(new Error(answer.problem)) : resolve(answer)));
      this.worker.postMessage({ ...request, id }, moved);
    });
  }
}
