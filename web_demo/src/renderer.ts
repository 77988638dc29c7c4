/** Everything that touches pixels, in WebGL 2: the network's input, the refined mask, the finished picture. */

import box from '../shaders/box.frag.glsl?raw';
import common from '../shaders/common.glsl?raw';
import compose from '../shaders/compose.frag.glsl?raw';
import gauss from '../shaders/gauss.frag.glsl?raw';
import line from '../shaders/line.frag.glsl?raw';
import moments from '../shaders/moments.frag.glsl?raw';
import resize from '../shaders/resize.frag.glsl?raw';
import shrink from '../shaders/shrink.frag.glsl?raw';
import triangle from '../shaders/triangle.vert.glsl?raw';
import { cover, type Drawing, type Look, resized, type Size, type Source, type Taken } from './drawing.ts';
import type { Ran } from './segmenter.ts';
import { planarFrame, planesOf } from './sources.ts';
import type { Mask, Planes } from './tensor.ts';

/** The numbers that compose.frag.glsl knows. */
export const EFFECTS = { none: 0, blur: 1, background: 2, colour: 3, cutout: 4, mask: 5, parts: 6 } as const;

interface Texture {
  id: WebGLTexture;
  width: number;
  height: number;
  frame?: WebGLFramebuffer;
}

/** A picture on its way. */
export interface Shot {
  /** RGBA, or the luma of a video's planes. */
  picture: Texture;
  planes?: { chroma: Texture; toRgb: number[] };
  /** At the network's input size. */
  small: Texture;
}

const SHADERS = { box, compose, gauss, line, moments, resize, shrink };

export class Renderer implements Drawing<Shot> {
  private readonly programs = new Map<string, { id: WebGLProgram; places: Map<string, WebGLUniformLocation | null> }>();
  private readonly real: number; // a format that can be drawn to, for values beyond 0-1
  private readonly textures = new Map<string, Texture>();
  private background: Texture | null = null;
  private spare: ArrayBuffer | undefined; // memory of planes that were drawn

  constructor(
    readonly canvas: HTMLCanvasElement,
    private readonly gl: WebGL2RenderingContext,
  ) {
    this.real = gl.getExtension('EXT_color_buffer_float') ? gl.RGBA32F : gl.RGBA16F;
    gl.disable(gl.DITHER);
  }

  /** Draws to `canvas`; null where there is no WebGL 2 with half floats, or, unless `any` will do, only one in software. */
  static open(canvas: HTMLCanvasElement, any = false): Renderer | null {
    const open = (canvas: HTMLCanvasElement) =>
      canvas.getContext('webgl2', { antialias: false, depth: false, powerPreference: 'high-performance' }) as WebGL2RenderingContext | null;
    const trial = open(document.createElement('canvas')); // a canvas has one kind of context for good
    if (!trial) return null;
    const names = trial.getExtension('WEBGL_debug_renderer_info');
    const device = String(trial.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : trial.RENDERER));
    const able = trial.getExtension('EXT_color_buffer_float') ?? trial.getExtension('EXT_color_buffer_half_float');
    trial.getExtension('WEBGL_lose_context')?.loseContext();
    if (!able || (!any && /swiftshader|llvmpipe|softpipe|software|basic render/i.test(device))) return null;
    const gl = open(canvas);
    return gl && new Renderer(canvas, gl);
  }

  get maxSide(): number {
    return Math.min(this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE), this.gl.getParameter(this.gl.MAX_RENDERBUFFER_SIZE));
  }

  async take(source: Source, width: number, height: number, slot: number, input: Size | null): Promise<Taken<Shot>> {
    const frame = input && source instanceof HTMLVideoElement ? planarFrame(source) : null;
    if (!input || !frame) return this.takePixels(source, width, height, slot, input ?? { width: 1, height: 1 });
    const { spare } = this;
    this.spare = undefined; // the other frame under way needs memory of its own
    const shot = (answer?: Ran) => {
      const { planes, small } = answer as Required<Ran>;
      const taken = this.takePlanes(planes, small, input);
      this.spare = planes.data.buffer as ArrayBuffer;
      return taken;
    };
    return { input: await planesOf(frame, spare), shot };
  }

  private takePixels(source: Source, width: number, height: number, slot: number, input: Size): Taken<Shot> {
    const { gl } = this;
    const picture = this.texture(`picture ${slot}`, width, height, gl.RGBA8, gl.LINEAR);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, source);
    const small = this.texture(`small ${slot}`, input.width, input.height, gl.RGBA8, gl.LINEAR);
    this.draw('resize', small, { picture, target: [input.width, input.height] });
    const rgba = new Uint8Array(4 * input.width * input.height);
    gl.readPixels(0, 0, input.width, input.height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    return { input: rgba, shot: () => ({ picture, small }) };
  }

  /** Takes in a video's frame as its decoder gives it, and its RGBA at the network's input size. */
  takePlanes({ width, height, data, toRgb }: Planes, rgba: Uint8Array, input: Size): Shot {
    const { gl } = this;
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const picture = this.texture('luma', width, height, gl.R8, gl.LINEAR);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RED, gl.UNSIGNED_BYTE, data);
    const chroma = this.texture('chroma', width / 2, height / 2, gl.RG8, gl.NEAREST);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width / 2, height / 2, gl.RG, gl.UNSIGNED_BYTE, data, width * height);
    const small = this.texture('small', input.width, input.height, gl.RGBA8, gl.LINEAR);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, input.width, input.height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    return { picture, planes: { chroma, toRgb }, small };
  }

  async finished(): Promise<void> {
    const { gl } = this;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0)!;
    gl.flush();
    while (gl.getSyncParameter(fence, gl.SYNC_STATUS) === gl.UNSIGNALED && !gl.isContextLost())
      await new Promise((later) => setTimeout(later, 2));
    gl.deleteSync(fence);
  }

  setBackground(source: (ImageBitmap | HTMLCanvasElement) | null): void {
    const { gl } = this;
    this.background = source && this.texture('background', source.width, source.height, gl.RGBA8, gl.LINEAR);
    if (source) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, source.width, source.height, gl.RGBA, gl.UNSIGNED_BYTE, source);
  }

  setPalette(colors: number[][]): void {
    const { gl } = this;
    const bytes = new Uint8Array(4 * 256);
    colors.forEach((rgb, i) => bytes.set([...rgb, rgb.some((value) => value > 0) ? 255 : 0], 4 * i));
    this.texture('palette', 256, 1, gl.RGBA8, gl.NEAREST);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 256, 1, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  }

  show({ picture, planes, small }: Shot, mask: Mask | null, look: Look, scale = 1): void {
    const { canvas } = this;
    const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(scale * side)));
    resized(canvas, width, height);
    let effect = mask ? look.effect : 'none';
    if (effect === 'background' && !this.background) effect = 'colour';
    const { threshold } = look;
    const lines = mask && effect !== 'none' && effect !== 'parts' ? this.lines(small, mask, look.refine) : picture;
    const photo = { picture, ...planes };
    const behind = effect === 'blur' ? this.blur(photo, lines, look) : (this.background ?? picture);
    this.draw('compose', null, {
      ...{ ...photo, lines, behind, threshold, paint: look.paint, palette: this.textures.get('palette') ?? picture },
      classes: this.classes(effect === 'parts' ? mask : null),
      target: [width, height],
      cover: cover(width, height, behind),
      mirror: { int: look.mirror ? 1 : 0 },
    }, `#define EFFECT ${EFFECTS[effect]}\n`);
  }

  /** Slope and offset of the mask's local lines (the guided filter), or the mask itself. */
  private lines(picture: Texture, mask: Mask, refine: boolean): Texture {
    const { gl, real } = this;
    const { width, height } = mask;
    const place = (name: string) => this.texture(name, width, height, real, gl.NEAREST);
    const values = this.texture('mask', width, height, gl.R32F, gl.NEAREST);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RED, gl.FLOAT, mask.foreground);
    this.draw('moments', place('a'), { picture, mask: values });
    // The window of predict.guided_filter, a hundredth of the picture's longer side, at the mask's size.
    const radius = refine ? Math.max(1, Math.round(Math.max(width, height) / 100)) : 0;
    const mean = (from: string, to: Texture) => {
      if (!refine) return this.textures.get(from)!;
      this.draw('box', place('b'), { plane: this.textures.get(from)!, direction: { ints: [1, 0] }, radius: { int: radius } });
      this.draw('box', to, { plane: this.textures.get('b')!, direction: { ints: [0, 1] }, radius: { int: radius } });
      return to;
    };
    const moments = mean('a', place('c'));
    const result = this.texture('lines', width, height, gl.RG16F, gl.LINEAR);
    this.draw('line', refine ? place('a') : result, { moments, refine: { int: refine ? 1 : 0 } });
    return refine ? mean('a', result) : result;
  }

  /** The picture blurred without its people: colours times weight, and weight. */
  private blur(photo: { picture: Texture }, lines: Texture, { blur, threshold }: Look): Texture {
    const { gl } = this;
    const { picture } = photo;
    const sigma = blur * Math.max(picture.width, picture.height);
    const factor = Math.max(1, sigma / 2.8);
    const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side / factor)));
    const place = (name: string) => this.texture(name, width, height, gl.RGBA16F, gl.LINEAR);
    this.draw('shrink', place('blur a'), { ...photo, lines, threshold, target: [width, height] });
    const halves = Array.from({ length: 9 }, (_, i) => Math.exp(-0.5 * (i * factor / sigma) ** 2));
    const total = 2 * halves.reduce((sum, weight) => sum + weight) - halves[0];
    const step = { weights: { floats: halves.map((weight) => weight / total) } };
    this.draw('gauss', place('blur b'), { plane: this.textures.get('blur a')!, direction: { ints: [1, 0] }, ...step });
    this.draw('gauss', place('blur a'), { plane: this.textures.get('blur b')!, direction: { ints: [0, 1] }, ...step });
    return this.textures.get('blur a')!;
  }

  private classes(mask: Mask | null): Texture {
    const { gl } = this;
    const texture = this.texture('classes', mask?.width ?? 1, mask?.height ?? 1, gl.R8UI, gl.NEAREST);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    const values = mask?.classes ?? new Uint8Array(1);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, texture.width, texture.height, gl.RED_INTEGER, gl.UNSIGNED_BYTE, values);
    return texture;
  }

  /** The texture of that name, bound; made anew when its size changes. */
  private texture(name: string, width: number, height: number, format: number, filter: number): Texture {
    const { gl } = this;
    let texture = this.textures.get(name);
    if (texture?.width === width && texture.height === height) {
      gl.activeTexture(gl.TEXTURE0);
      gl.bindTexture(gl.TEXTURE_2D, texture.id);
      return texture;
    }
    if (texture) {
      gl.deleteTexture(texture.id);
      gl.deleteFramebuffer(texture.frame ?? null);
    }
    texture = { id: gl.createTexture()!, width, height };
    this.filter(texture, filter);
    gl.texStorage2D(gl.TEXTURE_2D, 1, format, width, height);
    for (const side of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T]) gl.texParameteri(gl.TEXTURE_2D, side, gl.CLAMP_TO_EDGE);
    this.textures.set(name, texture);
    return texture;
  }

  private filter(texture: Texture, filter: number): void {
    const { gl } = this;
    gl.activeTexture(gl.TEXTURE0);
    gl.bindTexture(gl.TEXTURE_2D, texture.id);
    for (const side of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, side, filter);
  }

  /** One pass of a shader into a texture (null: the canvas). A number is a float, a Texture its sampler. */
  private draw(name: keyof typeof SHADERS, to: Texture | null, values: Record<string, Uniform>, defines = ''): void {
    const { gl } = this;
    const { id, places } = this.program(name, 'chroma' in values ? `#define PLANES\n${defines}` : defines);
    if (to && !to.frame) {
      to.frame = gl.createFramebuffer()!;
      gl.bindFramebuffer(gl.FRAMEBUFFER, to.frame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, to.id, 0);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, to?.frame ?? null);
    gl.viewport(0, 0, to?.width ?? this.canvas.width, to?.height ?? this.canvas.height);
    gl.useProgram(id);
    let unit = 0;
    for (const [key, value] of Object.entries(values)) {
      if (!places.has(key)) places.set(key, gl.getUniformLocation(id, key));
      const place = places.get(key)!;
      if (!place) continue; // another effect's
      if (typeof value === 'number') gl.uniform1f(place, value);
      else if (Array.isArray(value) && value.length === 16) gl.uniformMatrix4fv(place, false, value);
      else if (Array.isArray(value)) (value.length === 2 ? gl.uniform2fv : gl.uniform3fv).call(gl, place, value);
      else if ('int' in value) gl.uniform1i(place, value.int);
      else if ('floats' in value) gl.uniform1fv(place, value.floats);
      else if ('ints' in value) gl.uniform2iv(place, value.ints);
      else {
        gl.activeTexture(gl.TEXTURE0 + unit);
        gl.bindTexture(gl.TEXTURE_2D, value.id);
        gl.uniform1i(place, unit++);
      }
    }
    gl.drawArrays(gl.TRIANGLES, 0, 3);
  }

  private program(name: keyof typeof SHADERS, defines: string) {
    const known = this.programs.get(name + defines);
    if (known) return known;
    const made = { id: this.compile(name, defines), places: new Map() };
    this.programs.set(name + defines, made);
    return made;
  }

  private compile(name: keyof typeof SHADERS, defines: string): WebGLProgram {
    const { gl } = this;
    const program = gl.createProgram()!;
    const head = common.replace('\n', `\n${defines}`); // its first line is the version
    for (const [type, source] of [[gl.VERTEX_SHADER, triangle], [gl.FRAGMENT_SHADER, SHADERS[name]]] as const) {
      const shader = gl.createShader(type)!;
      gl.shaderSource(shader, head + source);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS) && !gl.isContextLost()) {
      const logs = gl.getAttachedShaders(program)!.map((shader) => gl.getShaderInfoLog(shader)).join('');
      throw new Error(`The graphics driver refuses ${name}.frag.glsl: ${logs || gl.getProgramInfoLog(program)}`);
    }
    return program;
  }
}

type Uniform = number | number[] | { int: number } | { ints: number[] } | { floats: number[] } | Texture;
