/** From a source's frame to the canvas: at most two frames are under way, a newer one is dropped, none is queued. */

import type { Drawing, Look, Shot } from './drawing.ts';
import type { Segmenter } from './segmenter.ts';
import type { ModelSpec } from './spec.ts';
import type { Mask } from './tensor.ts';

type Picture = HTMLVideoElement | ImageBitmap;
const UNDER_WAY = 2;
const SLOTS = UNDER_WAY + 1; // and the one that is shown
const SLOW = 25; // frames per second below which moving pictures are drawn smaller
const SMALLEST = 0.5;

export interface Choices extends Look {
  /** Share of the previous mask that stays where the picture is still. */
  smoothing: number;
  fillContours: boolean;
}

export class Engine<S extends Shot> {
  readonly stats = new Stats();
  private spec: ModelSpec | null = null;
  private shown: { shot: S; mask: Mask | null } | null = null;
  private still: ImageBitmap | null = null;
  private underWay = 0;
  private slot = 0;
  private filled = false; // as the photo's mask was made
  private scene = 0; // results of an earlier model or source are dropped
  private fresh = true; // no mask before this one
  private pace = 1; // of moving pictures' size, what the device can draw
  private droppedBefore = 0;
  /** The look as it was chosen last. */
  choices: Choices;
  /** Pixels of the place where pictures are seen, and whether they fill it; more are not drawn of moving ones. */
  view = { width: 4096, height: 4096, fill: false };
  /** Moving pictures at their full size, for a recording. */
  full = false;

  constructor(
    private readonly renderer: Drawing<S>,
    private readonly segmenter: Segmenter,
    choices: Choices,
    private readonly failed: (problem: string) => void,
  ) {
    this.choices = choices;
  }

  /** Null while a model is being opened: pictures are shown as they are. */
  setModel(spec: ModelSpec | null): void {
    this.spec = spec;
    if (spec) this.renderer.setPalette(spec.colors);
    this.restart();
    if (this.still) void this.take(this.still, this.still.width, this.still.height);
  }

  photo(picture: ImageBitmap): void {
    this.clear();
    this.still = picture;
    void this.take(picture, picture.width, picture.height);
  }

  frame(video: HTMLVideoElement): void {
    this.still = null;
    if (this.underWay >= UNDER_WAY) this.stats.dropped++;
    else void this.take(video, video.videoWidth, video.videoHeight);
  }

  /** Forgets the source's pictures. */
  clear(): void {
    this.still = null;
    this.restart();
  }

  /** Shows the last picture with other choices; its network ran already, so nothing is smoothed twice. */
  redraw(): void {
    if (this.still && this.filled !== this.choices.fillContours) void this.take(this.still, this.still.width, this.still.height);
    else if (this.shown) this.draw();
  }

  /** The picture that is shown, at its own size, as a PNG; null where the browser cannot. */
  async save(): Promise<Blob | null> {
    if (!this.shown) return null;
    const { shot, mask } = this.shown;
    this.renderer.show(shot, mask, this.choices);
    const blob = new Promise<Blob | null>((done) => this.renderer.canvas.toBlob(done)); // before the task ends
    this.draw();
    return blob;
  }

  private restart(): void {
    this.scene++;
    this.fresh = true;
    this.pace = 1;
    this.droppedBefore = 0;
    this.stats.reset();
  }

  private async take(picture: Picture, width: number, height: number): Promise<void> {
    const started = performance.now();
    const { spec, scene, renderer, choices } = this;
    const slot = this.slot;
    this.slot = (slot + 1) % SLOTS;
    this.underWay++;
    this.filled = choices.fillContours;
    const fresh = this.fresh || this.still !== null;
    if (spec) this.fresh = false;
    try {
      const taken = await renderer.take(picture, width, height, slot, spec?.input ?? null);
      if (scene !== this.scene) return;
      if (!spec) return this.show(taken.shot(), null);
      const asked = performance.now();
      const fill = spec.fill ?? (choices.fillContours ? 'all' : null);
      const answer = await this.segmenter.run(taken.input, { smoothing: choices.smoothing, fill, fresh });
      if (scene !== this.scene) return;
      const answered = performance.now();
      const { mask, ms } = answer;
      const shot = taken.shot(answer);
      this.show(shot, mask);
      await renderer.finished(); // else a slow device would have ever more to draw
      if (scene !== this.scene) return;
      const { canvas } = renderer;
      const size = `${width} × ${height}, drawn ${canvas.width} × ${canvas.height}`;
      this.stats.add({ size, take: asked - started, network: ms, draw: performance.now() - answered, latency: performance.now() - started });
      this.keepPace();
    } catch (error) {
      if (scene === this.scene) this.failed((error as Error).message);
    } finally {
      this.underWay--;
    }
  }

  private show(shot: S, mask: Mask | null): void {
    this.shown = { shot, mask };
    this.draw();
  }

  private draw(): void {
    const { shot, mask } = this.shown!;
    let scale = 1;
    if (!this.still && !this.full) {
      const [x, y] = [this.view.width / shot.picture.width, this.view.height / shot.picture.height];
      scale = Math.min(this.pace, this.view.fill ? Math.max(x, y) : Math.min(x, y));
    }
    this.renderer.show(shot, mask, this.choices, Math.min(1, scale));
  }

  /** Once in a while: a device that cannot keep up gets less to draw. */
  private keepPace(): void {
    const { stats } = this;
    if (stats.frames % 30 || stats.dropped === this.droppedBefore) return;
    this.droppedBefore = stats.dropped;
    if (stats.summary()!.fps < SLOW) this.pace = Math.max(SMALLEST, 0.8 * this.pace);
  }
}

export interface Times {
  size: string;
  /** Milliseconds. */
  take: number;
  network: number;
  draw: number;
  latency: number;
}

export class Stats {
  frames = 0;
  dropped = 0;
  private recent: (Times & { at: number })[] = [];

  reset(): void {
    Object.assign(this, { frames: 0, dropped: 0, recent: [] });
  }

  add(times: Times): void {
    this.frames++;
    const at = performance.now();
    this.recent.push({ ...times, at });
    while (this.recent[0].at < at - 2000) this.recent.shift();
  }

  /** Frames per second and median milliseconds over the last two seconds; null before the first frame. */
  summary(): (Times & { fps: number }) | null {
    const { recent } = this;
    const last = recent.at(-1);
    if (!last) return null;
    const seconds = (last.at - recent[0].at) / 1000;
    const median = (key: 'take' | 'network' | 'draw' | 'latency') => recent.map((r) => r[key]).sort((a, b) => a - b)[recent.length >> 1];
    return { size: last.size, fps: seconds ? (recent.length - 1) / seconds : 0, take: median('take'), network: median('network'), draw: median('draw'), latency: median('latency') };
  }
}
