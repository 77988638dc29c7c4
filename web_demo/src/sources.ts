/** Where pictures come from. Every failure is an Error whose message is a sentence for the person. */

import { type Planes, yuvToRgb } from './tensor.ts';

/** `onFrame` gets the element with each new frame until the returned function is called. */
export type Moving = { video: HTMLVideoElement; facing?: string; stop: () => void };

export async function camera(facing: 'user' | 'environment', onFrame: (video: HTMLVideoElement) => void, onLost: (why: string) => void): Promise<Moving> {
  if (!navigator.mediaDevices)
    throw new Error('Browsers give the camera to https pages and to localhost only. Photos and videos work here all the same.');
  let stream: MediaStream;
  try {
    const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: facing, ...size }, audio: false });
  } catch (error) {
    throw new Error(refusals[(error as DOMException).name] ?? `The camera does not start: ${(error as Error).message}`);
  }
  const [track] = stream.getVideoTracks();
  const video = element();
  video.srcObject = stream;
  const frames = watch(video, onFrame);
  track.onended = () => onLost('The camera was taken away: unplugged, or used by another app.');
  await video.play();
  const stop = () => {
    frames();
    track.onended = null;
    track.stop();
    video.srcObject = null;
  };
  return { video, facing: track.getSettings().facingMode ?? 'user', stop };
}

const refusals: Record<string, string> = {
  NotAllowedError: 'The camera is not allowed for this page. Allow it in the site settings beside the address and press Camera again, or open a photo or a video.',
  NotFoundError: 'No camera was found. Open a photo or a video instead.',
  OverconstrainedError: 'No camera was found. Open a photo or a video instead.',
  NotReadableError: 'The camera is in use by another app. Close that one and press Camera again.',
  AbortError: 'The camera stopped while it started. Press Camera again.',
};

export async function videoFile(file: Blob, onFrame: (video: HTMLVideoElement) => void): Promise<Moving> {
  const video = element();
  const address = URL.createObjectURL(file);
  video.src = address;
  video.loop = true;
  const frames = watch(video, onFrame);
  const stop = () => {
    frames();
    video.pause();
    video.removeAttribute('src');
    URL.revokeObjectURL(address);
  };
  try {
    await video.play();
  } catch {
    stop();
    throw new Error('This video cannot be played here: its format is unknown to the browser. MP4 (H.264) and WebM play nearly everywhere.');
  }
  return { video, stop };
}

/** A photo turned upright, at most `maxSide` pixels long. */
export async function photoFile(file: Blob, maxSide: number): Promise<ImageBitmap> {
  try {
    const whole = await createImageBitmap(file, { imageOrientation: 'from-image', premultiplyAlpha: 'none' });
    const scale = maxSide / Math.max(whole.width, whole.height);
    if (scale >= 1) return whole;
    const size = { resizeWidth: Math.floor(whole.width * scale), resizeHeight: Math.floor(whole.height * scale) };
    return await createImageBitmap(whole, { ...size, resizeQuality: 'high' });
  } catch {
    throw new Error('This picture cannot be read here. JPEG, PNG and WebP work everywhere.');
  }
}

function element(): HTMLVideoElement {
  return Object.assign(document.createElement('video'), { muted: true, playsInline: true });
}

function watch(video: HTMLVideoElement, onFrame: (video: HTMLVideoElement) => void): () => void {
  let running = true;
  let shown = -1;
  const next = () => {
    if (!running) return;
    if (video.videoWidth > 0 && video.currentTime !== shown) {
      shown = video.currentTime;
      onFrame(video);
    }
    if (video.requestVideoFrameCallback) video.requestVideoFrameCallback(next);
    else requestAnimationFrame(next);
  };
  next();
  return () => (running = false);
}

/** The frame that a video shows if its decoder gives it as planes, which are cheaper to take in than pixels; null else. */
export function planarFrame(video: HTMLVideoElement): VideoFrame | null {
  if (!('VideoFrame' in globalThis)) return null;
  const frame = new VideoFrame(video);
  const { width, height } = frame.visibleRect ?? { width: 0, height: 0 };
  const asShown = width === video.videoWidth && height === video.videoHeight && width % 2 + height % 2 === 0;
  if (asShown && (frame.format === 'NV12' || frame.format === 'I420')) return frame;
  frame.close();
  return null;
}

/** The frame as its decoder gives it, in memory of `spare` where that is large enough. Closes the frame. */
export async function planesOf(frame: VideoFrame, spare?: ArrayBuffer): Promise<Planes> {
  const { width, height } = frame.visibleRect!;
  const { matrix, fullRange } = frame.colorSpace;
  const size = frame.allocationSize();
  const data = new Uint8Array(spare?.byteLength === size ? spare : new ArrayBuffer(size));
  const interleaved = frame.format === 'NV12';
  await frame.copyTo(data);
  frame.close();
  if (!interleaved) {
    const chroma = data.slice(width * height);
    const count = chroma.length / 2;
    for (let i = 0, to = width * height; i < count; i++) {
      data[to++] = chroma[i];
      data[to++] = chroma[count + i];
    }
  }
  return { width, height, data, toRgb: yuvToRgb(matrix === 'bt709', fullRange ?? false) };
}
