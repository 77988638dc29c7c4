/** The page: what people choose, where pictures come from, what is saved. */

import { BACKGROUNDS, paintBackground } from './backgrounds.ts';
import { type Choices, Engine } from './engine.ts';
import type { Drawing } from './drawing.ts';
import { Painter } from './painter.ts';
import { Renderer } from './renderer.ts';
import { Segmenter } from './segmenter.ts';
import { camera, type Moving, photoFile, videoFile } from './sources.ts';
import { hasBackground, hasParts, type ModelSpec, parseSpec } from './spec.ts';

const VIDEO_TYPES = ['video/mp4;codecs=avc1.42E01F', 'video/webm;codecs=vp9', 'video/webm'];
const COLOURS = { Green: '#00b140', White: '#ffffff', Graphite: '#2b302d', Sky: '#8ec9f5', Rose: '#f3a7b5', Sun: '#ffd166' };
const EFFECTS = { blur: 'Blur', background: 'Scene', colour: 'Colour', cutout: 'Cut-out', mask: 'Mask' } as const;
type Effect = keyof typeof EFFECTS;

const get = <T extends HTMLElement = HTMLElement>(id: string) => document.getElementById(id) as T;
const input = (id: string) => get<HTMLInputElement>(id);
const canvas = get<HTMLCanvasElement>('picture');

/** What is remembered until the next visit. */
const settings = {
  effect: 'blur' as Effect,
  blur: 0.03,
  background: 'Hills',
  colour: '#00b140',
  model: '',
  refine: true,
  smoothing: null as number | null, // the model's own
  fill: false,
  mirror: null as boolean | null, // front cameras'
  gpu: true,
  stats: false,
};

let models: { file: string; spec: ModelSpec }[] = [];
let spec: ModelSpec | null = null;
let source: Moving | null = null;
let facing: 'user' | 'environment' = 'user';
let recorder: MediaRecorder | null = null;
let awake: WakeLockSentinel | null = null;
let renderer: Drawing<any>;
let engine: Engine<any>;
const segmenter = new Segmenter();

async function main(): Promise<void> {
  if (await becomesIsolated()) return;
  remember();
  // ?draw=webgl takes one in software too, ?draw=cpu none.
  const draw = new URLSearchParams(location.search).get('draw');
  renderer = (draw !== 'cpu' && Renderer.open(canvas, draw === 'webgl')) || new Painter(canvas);
  engine = new Engine(renderer, segmenter, choices(), say);
  build();
  refresh();
  canvas.addEventListener('webglcontextlost', () => location.reload());
  const listed = await (await fetch('models/models.json')).json();
  models = listed.map(({ file, spec }: { file: string; spec: unknown }) => ({ file, spec: parseSpec(spec) }));
  if (models.length === 0) throw new Error('No model was built into this page: web_demo/build.sh MODEL.tflite');
  get<HTMLSelectElement>('model').replaceChildren(...models.map(({ file, spec }) => new Option(spec.name, file)));
  await openModel(settings.model);
  const allowed = await navigator.permissions?.query({ name: 'camera' as PermissionName }).catch(() => null);
  if (allowed?.state === 'granted' && !source && canvas.hidden) await startCamera();
}

/** Registers the service worker. At the first visit it loads the page once more, now with what threads need. */
async function becomesIsolated(): Promise<boolean> {
  if (!navigator.serviceWorker || import.meta.env.DEV) return false;
  try {
    const registration = await navigator.serviceWorker.register('sw.js');
    registration.onupdatefound = () => {
      if (registration.active) say('A newer version of this page is there. It opens once all its tabs were closed.');
    };
  } catch {
    return false; // private windows of some browsers have none
  }
  if (navigator.serviceWorker.controller || sessionStorage.getItem('loaded')) return false;
  sessionStorage.setItem('loaded', 'once'); // never in a circle
  await new Promise((controlled) => {
    navigator.serviceWorker.addEventListener('controllerchange', controlled, { once: true });
    setTimeout(controlled, 8000);
  });
  location.reload();
  return true;
}

function remember(): void {
  try {
    Object.assign(settings, JSON.parse(localStorage.getItem('settings') ?? '{}'));
  } catch {
    localStorage.removeItem('settings');
  }
}

async function openModel(file: string): Promise<void> {
  const chosen = models.find((model) => model.file === file) ?? models[0];
  get<HTMLSelectElement>('model').value = chosen.file;
  spec = null;
  engine.setModel(null);
  say(`Opening ${chosen.spec.name} …`, true);
  const response = await fetch(`models/${chosen.file}`);
  if (!response.ok) throw new Error(`models/${chosen.file} is not on the server (${response.status}).`);
  const { processor, reason } = await segmenter.open(new Uint8Array(await response.arrayBuffer()), chosen.spec, settings.gpu);
  spec = chosen.spec;
  settings.model = chosen.file;
  get('processor').textContent = `Now: ${processor}${reason ? `, ${reason}` : ''}.`;
  document.documentElement.dataset.processor = processor;
  document.documentElement.dataset.model = chosen.file;
  get('model-words').textContent = describe(spec);
  get('legend').replaceChildren(...spec.labels.flatMap((label, i) => (spec!.colors[i].some(Boolean) ? [entry(label, spec!.colors[i])] : [])));
  get('mask-words').textContent = hasParts(spec) ? `${spec.labels.length} classes in colours.` : 'What the network takes for a person.';
  if (!hasBackground(spec)) settings.effect = 'mask';
  for (const effect of ['blur', 'background', 'colour', 'cutout']) input(`effect-${effect}`).disabled = !hasBackground(spec);
  say('');
  refresh();
  engine.setModel(spec);
}

function describe({ description, licence, accuracy, input }: ModelSpec): string {
  const share = accuracy?.foreground_iou ?? accuracy?.mean_iou;
  const measured = share ? ` ${(100 * share).toFixed(1)} % ${accuracy!.foreground_iou ? 'foreground' : 'mean'} IoU on ${accuracy!.data}.` : '';
  return `${description} Input ${input.width} × ${input.height}.${measured} Licence: ${licence}.`;
}

function entry(label: string, [red, green, blue]: number[]): HTMLElement {
  const item = document.createElement('li');
  const dot = document.createElement('i');
  dot.style.background = `rgb(${red} ${green} ${blue})`;
  item.append(dot, label);
  return item;
}

function choices(): Choices {
  const { effect, blur, refine, fill, colour } = settings;
  const parts = effect === 'mask' && spec !== null && hasParts(spec);
  const paint = effect === 'mask' ? (spec?.colors[1] ?? [40, 200, 90]) : [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return {
    effect: parts ? 'parts' : effect,
    blur,
    paint: paint.map((value) => value / 255) as [number, number, number],
    refine,
    threshold: spec?.threshold ?? 0.5,
    mirror: settings.mirror ?? (source?.facing !== undefined && source.facing !== 'environment'),
    smoothing: settings.smoothing ?? spec?.smoothing ?? 0,
    fillContours: fill,
  };
}

/** Shows the settings in the page and in the picture. */
function refresh(): void {
  const now = choices();
  input(`effect-${settings.effect}`).checked = true;
  for (const part of document.querySelectorAll<HTMLElement>('#options > *')) part.hidden = part.dataset.for !== settings.effect;
  range('blur', settings.blur, `${(100 * settings.blur).toFixed(1)} %`);
  range('smoothing', now.smoothing, now.smoothing.toFixed(1));
  input('refine').checked = settings.refine;
  input('fill').checked = settings.fill;
  input('mirror').checked = now.mirror;
  input('gpu').checked = settings.gpu;
  input('gpu').disabled = !('gpu' in navigator);
  input('show-stats').checked = settings.stats;
  get('stats').hidden = !settings.stats || canvas.hidden;
  get('legend').hidden = now.effect !== 'parts' || canvas.hidden;
  canvas.classList.toggle('clear', settings.effect === 'cutout');
  canvas.classList.toggle('fill', source?.facing !== undefined && settings.effect !== 'cutout' && matchMedia('(max-width: 899px)').matches);
  get('privacy').hidden = canvas.hidden;
  const seen = !canvas.hidden;
  get<HTMLButtonElement>('save').disabled = !seen;
  get<HTMLButtonElement>('record').disabled = !source || !('MediaRecorder' in window);
  const live = source?.facing !== undefined;
  get('camera').querySelector('use')!.setAttribute('href', live ? '#i-switch' : '#i-camera');
  get('camera').title = live ? 'Flip' : 'Camera';
  get('camera').setAttribute('aria-label', live ? 'Other camera' : 'Camera');
  localStorage.setItem('settings', JSON.stringify(settings));
  engine.choices = now;
  const { clientWidth, clientHeight } = canvas;
  if (seen) engine.view = { width: clientWidth * devicePixelRatio, height: clientHeight * devicePixelRatio, fill: canvas.classList.contains('fill') };
  engine.redraw();
  showStats();
}

function range(id: string, value: number, words: string): void {
  input(id).value = String(value);
  input(id).parentElement!.querySelector('output')!.textContent = words;
}

/** A sentence for the person; it goes after a while unless it `stays`. Empty: none. */
function say(words: string, stays = false): void {
  const message = get('message');
  clearTimeout(Number(message.dataset.timer));
  message.textContent = words;
  message.hidden = words === '';
  if (!stays && words) message.dataset.timer = String(setTimeout(() => (message.hidden = true), 9000));
}

/** Runs what was asked for and tells what went wrong. */
const attempt = (work: () => unknown) => async () => {
  try {
    await work();
  } catch (error) {
    say((error as Error).message);
  }
};

async function startCamera(): Promise<void> {
  leave();
  say('Starting the camera …', true);
  source = await camera(facing, frame, (why) => (leave(), say(why)));
  say('');
  opened();
  awake = (await navigator.wakeLock?.request('screen').catch(() => null)) ?? null;
}

async function openFile(file: Blob | undefined): Promise<void> {
  if (!file) return;
  leave();
  if (file.type.startsWith('video/')) source = await videoFile(file, frame);
  else {
    const photo = await photoFile(file, renderer.maxSide);
    opened();
    engine.photo(photo);
    return;
  }
  opened();
}

const frame = (video: HTMLVideoElement) => engine.frame(video);

function opened(): void {
  get('welcome').hidden = true;
  canvas.hidden = false;
  refresh();
}

function leave(): void {
  recorder?.stop();
  source?.stop();
  source = null;
  void awake?.release();
  awake = null;
  engine.clear();
  refresh();
}

/** The picture as it is shown, at its full size; a cut-out keeps its transparency. */
async function savePicture(): Promise<void> {
  const blob = await engine.save();
  if (!blob) throw new Error('The picture is too large for this browser to save.');
  download(blob, 'png');
}

function download(blob: Blob, suffix: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `pocketseg-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  say(`Saved as ${link.download}.`);
}

/** Records the camera until it is pressed again, a video from its start to its end. */
function toggleRecording(): void {
  if (recorder) return recorder.stop();
  const { video, facing } = source!;
  const mimeType = VIDEO_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
  const parts: Blob[] = [];
  recorder = new MediaRecorder(canvas.captureStream(), { mimeType, videoBitsPerSecond: 8_000_000 });
  const ended = () => recorder?.stop();
  recorder.ondataavailable = ({ data }) => parts.push(data);
  recorder.onstop = () => {
    const type = recorder!.mimeType;
    recorder = null;
    engine.full = false;
    video.removeEventListener('ended', ended);
    if (facing === undefined && source?.video === video) {
      video.loop = true;
      void video.play();
    }
    get('record').setAttribute('aria-pressed', 'false');
    download(new Blob(parts, { type }), type.includes('mp4') ? 'mp4' : 'webm');
  };
  if (facing === undefined) {
    video.loop = false;
    video.currentTime = 0;
    video.addEventListener('ended', ended);
    void video.play();
  }
  engine.full = true;
  engine.redraw();
  recorder.start(1000);
  get('record').setAttribute('aria-pressed', 'true');
}

function setBackground(name: string): void {
  settings.background = name;
  renderer.setBackground(paintBackground(name, 1280, 720));
  refresh();
}

async function ownBackground(file: Blob | undefined): Promise<void> {
  if (!file) return;
  const picture = await photoFile(file, Math.min(2048, renderer.maxSide));
  renderer.setBackground(picture);
  for (const radio of document.querySelectorAll<HTMLInputElement>('#backgrounds input')) radio.checked = false;
  refresh();
}

/** Asks for a file and hands it over. */
function choose(accept: string, take: (file: Blob | undefined) => Promise<void>): void {
  const file = input('file');
  file.accept = accept;
  file.value = '';
  file.onchange = attempt(() => take(file.files?.[0]));
  file.click();
}

/** A radio button that looks like `face`. */
function radio(group: string, id: string, chosen: boolean, face: (Node | string)[], name: string, pick: () => void): HTMLElement {
  const label = document.createElement('label');
  const button = Object.assign(document.createElement('input'), { type: 'radio', name: group, id, checked: chosen, className: 'quiet' });
  button.setAttribute('aria-label', name);
  button.onchange = pick;
  label.title = name;
  label.append(button, ...face);
  return label;
}

function icon(name: string): SVGElement {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.innerHTML = `<use href="#i-${name}" />`;
  return svg;
}

/** Makes the choices and says what each control does. */
function build(): void {
  const change = (key: Partial<typeof settings>) => (Object.assign(settings, key), refresh());
  get('effects').append(...Object.entries(EFFECTS).map(([effect, words]) =>
    radio('effect', `effect-${effect}`, false, [icon(effect), words], words, () => change({ effect: effect as Effect }))));
  if (!(settings.background in BACKGROUNDS)) settings.background = 'Hills';
  get('backgrounds').append(...Object.keys(BACKGROUNDS).map((name) =>
    radio('background', `background-${name}`, name === settings.background, [paintBackground(name, 124, 72)], name, () => setBackground(name))));
  const own = Object.assign(document.createElement('button'), { textContent: 'Your own' });
  own.onclick = () => choose('image/*', ownBackground);
  get('backgrounds').append(own);
  renderer.setBackground(paintBackground(settings.background, 1280, 720));
  get('colours').append(...Object.entries(COLOURS).map(([name, colour]) => {
    const dot = document.createElement('i');
    dot.style.background = colour;
    return radio('colour', `colour-${name}`, colour === settings.colour, [dot], name, () => change({ colour }));
  }));
  const any = Object.assign(document.createElement('input'), { type: 'color', value: settings.colour, title: 'Any colour' });
  any.setAttribute('aria-label', 'Any colour');
  any.oninput = () => change({ colour: any.value });
  get('colours').append(any);

  const listen = (id: string, key: (value: HTMLInputElement) => Partial<typeof settings>) => (input(id).oninput = () => change(key(input(id))));
  listen('blur', ({ value }) => ({ blur: Number(value) }));
  listen('smoothing', ({ value }) => ({ smoothing: Number(value) }));
  listen('refine', ({ checked }) => ({ refine: checked }));
  listen('fill', ({ checked }) => ({ fill: checked }));
  listen('mirror', ({ checked }) => ({ mirror: checked }));
  listen('show-stats', ({ checked }) => ({ stats: checked }));
  input('gpu').onchange = attempt(() => {
    settings.gpu = input('gpu').checked;
    return openModel(settings.model);
  });
  const model = get<HTMLSelectElement>('model');
  model.onchange = attempt(() => openModel(model.value));

  const dialog = get<HTMLDialogElement>('settings');
  get('more').onclick = () => dialog.showModal();
  get('close').onclick = () => dialog.close();
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close(); // beside the sheet; a handler that gives false would undo switches
  };
  const ask = () => choose('image/*,video/*', openFile);
  get('open').onclick = get('start-open').onclick = ask;
  get('start').onclick = attempt(startCamera);
  get('camera').onclick = attempt(() => {
    if (source?.facing !== undefined) facing = facing === 'user' ? 'environment' : 'user';
    settings.mirror = null;
    return startCamera();
  });
  get('save').onclick = attempt(savePicture);
  get('record').onclick = attempt(toggleRecording);

  document.ondragover = (event) => (event.preventDefault(), get('stage').classList.add('dropping'));
  document.ondragleave = (event) => {
    if (!event.relatedTarget) get('stage').classList.remove('dropping');
  };
  document.ondrop = (event) => {
    event.preventDefault();
    get('stage').classList.remove('dropping');
    void attempt(() => openFile(event.dataTransfer?.files[0]))();
  };
  document.onpaste = (event) => {
    const file = event.clipboardData?.files[0];
    if (file) void attempt(() => openFile(file))();
  };
  setInterval(showStats, 500);
  addEventListener('resize', refresh);
}

function showStats(): void {
  const summary = engine.stats.summary();
  if (!summary) return get('stats').replaceChildren();
  const ms = (value: number) => `${value.toFixed(1)} ms`;
  const rows = {
    'Frames per second': source ? summary.fps.toFixed(1) : '–',
    'Frame to screen': ms(summary.latency),
    Network: ms(summary.network),
    'Reading the picture': ms(summary.take),
    Drawing: ms(summary.draw),
    Picture: summary.size,
    Frames: `${engine.stats.frames}, ${engine.stats.dropped} dropped`,
    Processor: document.documentElement.dataset.processor ?? '',
  };
  get('stats').replaceChildren(...Object.entries(rows).flatMap(([name, value], i) => {
    const [term, words] = [document.createElement('dt'), document.createElement('dd')];
    Object.assign(term, { textContent: name });
    Object.assign(words, { textContent: value, className: i === 0 ? 'big' : '' });
    return [term, words];
  }));
}

attempt(main)();
