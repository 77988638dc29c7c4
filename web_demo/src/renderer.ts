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
import { type Mask, type Planes, regions } from './tensor.ts';

/** The numbers that compose.frag.glsl knows. */
export const EFFECTS = { none: 0, blur: 1, background: 2, colour: 3, cutout: 4, mask: 5, parts: 6 } as const;
const [BLUR_ALONE, BACKGROUND_ALONE] = [7, 8];

export interface Look {
  effect: keyof typeof EFFECTS;
  /** The blur's sigma as a share of the longer side. */
  blur: number;
  /** RGB 0-1: what is behind, or the mask's tint. */
  paint: [number, number, number];
  refine: boolean;
  threshold: number;
  mirror: boolean;
}

interface Texture {
  id: WebGLTexture;
  width: number;
  height: number;
  frame?: WebGLFramebuffer;
}

/** A picture on its way: kept until its own mask is there, so that both are shown in step. */
export interface Shot {
  /** RGBA, or the luma of a video's planes. */
  picture: Texture;
  planes?: { chroma: Texture; toRgb: number[] };
  /** At the network's input size. */
  small: Texture;
}

/** What is drawn where the mask is sure: a number of compose.frag.glsl, or nothing but a colour. */
const ALONE = {
  blur: { inside: EFFECTS.none, outside: BLUR_ALONE },
  background: { inside: EFFECTS.none, outside: BACKGROUND_ALONE },
  colour: { inside: EFFECTS.none, outside: 'clear' },
  cutout: { inside: EFFECTS.none, outside: 'clear' },
  mask: { inside: EFFECTS.mask, outside: EFFECTS.none },
} as const;

type Source = TexImageSource & { width?: number; height?: number };
const SHADERS = { box, compose, gauss, line, moments, resize, shrink };

export class Renderer {
  private readonly gl: WebGL2RenderingContext;
  private readonly programs = new Map<string, { id: WebGLProgram; places: Map<string, WebGLUniformLocation | null> }>();
  private readonly real: number; // a format that can be drawn to, for values beyond 0-1
  private readonly textures = new Map<string, Texture>();
  private background: Texture | null = null;
  private behind: Texture | null = null;

  /** Throws an Error in words when the browser has no WebGL 2 that can draw to half floats. */
  constructor(readonly canvas: HTMLCanvasElement) {
    const gl = canvas.getContext('webgl2', { antialias: false, depth: false, powerPreference: 'high-performance' });
    if (!gl) throw new Error('This browser has no WebGL 2, which the page draws with. A current browser has it.');
    this.gl = gl;
    const full = gl.getExtension('EXT_color_buffer_float');
    if (!full && !gl.getExtension('EXT_color_buffer_half_float'))
      throw new Error('This device cannot draw to half-float textures, which the page needs.');
    this.real = full ? gl.RGBA32F : gl.RGBA16F;
    gl.disable(gl.DITHER);
  }

  /** The longest side of a picture that can be drawn. */
  get maxSide(): number {
    return Math.min(this.gl.getParameter(this.gl.MAX_TEXTURE_SIZE), this.gl.getParameter(this.gl.MAX_RENDERBUFFER_SIZE));
  }

  /** Takes a picture in; `slot` says whose place it takes. Returns it with its RGBA bytes at the network's input size. */
  take(source: Source, width: number, height: number, slot: number, input: { width: number; height: number }) {
    const { gl } = this;
    const picture = this.texture(`picture ${slot}`, width, height, gl.RGBA8, gl.LINEAR);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, source);
    const small = this.texture(`small ${slot}`, input.width, input.height, gl.RGBA8, gl.LINEAR);
    this.draw('resize', small, { picture, target: [input.width, input.height] });
    const rgba = new Uint8Array(4 * input.width * input.height);
    gl.readPixels(0, 0, input.width, input.height, gl.RGBA, gl.UNSIGNED_BYTE, rgba);
    return { shot: { picture, small } as Shot, rgba };
  }

  /** Takes in a video's frame as its decoder gives it, and its RGBA at the network's input size. */
  takePlanes({ width, height, data, toRgb }: Planes, rgba: Uint8Array, input: { width: number; height: number }): Shot {
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

  /** When all that was drawn is done. */
  async finished(): Promise<void> {
    const { gl } = this;
    const fence = gl.fenceSync(gl.SYNC_GPU_COMMANDS_COMPLETE, 0)!;
    gl.flush();
    while (gl.getSyncParameter(fence, gl.SYNC_STATUS) === gl.UNSIGNALED && !gl.isContextLost())
      await new Promise((later) => setTimeout(later, 2));
    gl.deleteSync(fence);
  }

  /** The picture behind people, or null. */
  setBackground(source: (ImageBitmap | HTMLCanvasElement) | null): void {
    const { gl } = this;
    this.background = source && this.texture('background', source.width, source.height, gl.RGBA8, gl.LINEAR);
    if (source) gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, source.width, source.height, gl.RGBA, gl.UNSIGNED_BYTE, source);
  }

  /** RGB 0-255 of each class; black ones are left as they are. */
  setPalette(colors: number[][]): void {
    const { gl } = this;
    const bytes = new Uint8Array(4 * 256);
    colors.forEach((rgb, i) => bytes.set([...rgb, rgb.some((value) => value > 0) ? 255 : 0], 4 * i));
    this.texture('palette', 256, 1, gl.RGBA8, gl.NEAREST);
    gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 256, 1, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
  }

  /** Draws a picture with its mask, `scale` times its size; without a mask, the picture alone. */
  show({ picture, planes, small }: Shot, mask: Mask | null, look: Look, scale = 1): void {
    const { canvas, gl } = this;
    const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(scale * side)));
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    let effect: keyof typeof EFFECTS = mask ? look.effect : 'none';
    if (effect === 'background' && !this.background) effect = 'colour';
    const { threshold } = look;
    const lines = mask && effect !== 'none' && effect !== 'parts' ? this.lines(small, mask, look.refine) : picture;
    const photo = { picture, ...planes };
    if (effect === 'blur') this.behind = this.blur(photo, lines, look);
    const behind = effect === 'blur' ? this.behind! : (this.background ?? picture);
    const classes = this.classes(effect === 'parts' ? mask : null);
    const larger = Math.max(width / behind.width, height / behind.height);
    const values: Record<string, Uniform> = {
      ...{ ...photo, lines, behind, classes, palette: this.textures.get('palette') ?? picture, threshold },
      paint: look.paint,
      target: [width, height],
      cover: [width / (behind.width * larger), height / (behind.height * larger)],
      mirror: { int: look.mirror ? 1 : 0 },
    };
    this.filter(picture, scale === 1 ? gl.NEAREST : gl.LINEAR); // pixel on pixel needs no mixing: dear without a GPU
    const compose = (number: number) => this.draw('compose', null, values, `#define EFFECT ${number}\n`);
    if (!mask || !(effect in ALONE)) return compose(EFFECTS[effect]);
    // Far from edges either the photo is seen or what is behind: less to compute, and without a GPU that counts.
    const { inside, outside } = ALONE[effect as keyof typeof ALONE];
    gl.enable(gl.SCISSOR_TEST);
    for (const { left, top, right, bottom, sure } of regions(mask, threshold)) {
      const [x0, x1] = (look.mirror ? [1 - right, 1 - left] : [left, right]).map((at) => Math.round(at * width));
      const [y0, y1] = [1 - bottom, 1 - top].map((at) => Math.round(at * height));
      gl.scissor(x0, y0, x1 - x0, y1 - y0);
      const number = sure === 0 ? EFFECTS[effect] : sure > 0 ? inside : outside;
      if (number === 'clear') {
        gl.bindFramebuffer(gl.FRAMEBUFFER, null);
        const [red, green, blue] = effect === 'colour' ? look.paint : [0, 0, 0];
        gl.clearColor(red, green, blue, effect === 'colour' ? 1 : 0);
        gl.clear(gl.COLOR_BUFFER_BIT);
      } else compose(number);
    }
    gl.disable(gl.SCISSOR_TEST);
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
    this.filter(picture, gl.LINEAR);
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
