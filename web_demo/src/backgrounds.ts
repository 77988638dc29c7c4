/** Backgrounds that the page paints itself, so that none has to be fetched or licensed. */

type Paint = (context: CanvasRenderingContext2D, width: number, height: number) => void;

export const BACKGROUNDS: Record<string, Paint> = {
  Studio(context, width, height) {
    const light = context.createRadialGradient(width * 0.5, height * 0.42, 0, width * 0.5, height * 0.5, width * 0.65);
    stops(light, ['#eef0f2', '#c3c9cf', '#7d8790']);
    fill(context, light, width, height);
  },
  Hills(context, width, height) {
    fill(context, vertical(context, height, ['#fde7c8', '#f7b99a', '#c98aa6']), width, height);
    circle(context, width * 0.7, height * 0.38, height * 0.09, '#fff3dd');
    ['#b0799c', '#875f8f', '#5d4a7a', '#383760', '#1d2545'].forEach((color, i) => {
      const base = height * (0.52 + 0.1 * i);
      context.beginPath();
      context.moveTo(0, height);
      for (let x = 0; x <= width; x += width / 160) {
        const at = (x / width) * Math.PI;
        const up = Math.sin(at * (2.1 + i) + i * 2) + 0.45 * Math.sin(at * (5.3 + i) + i) + 0.15 * Math.sin(at * 17 + 3 * i);
        context.lineTo(x, base - up * height * 0.055);
      }
      context.lineTo(width, height);
      context.fillStyle = color;
      context.fill();
    });
  },
  Evening(context, width, height) {
    fill(context, vertical(context, height, ['#0d1424', '#1d2136', '#3a2a35']), width, height);
    context.globalCompositeOperation = 'lighter';
    const random = numbers(5);
    for (let i = 0; i < 46; i++) {
      const color = ['#ffb15c', '#ff7a4d', '#ffd9a0', '#6fa8ff', '#ff5f7e'][Math.floor(random() * 5)];
      const shade = Math.round(28 + 70 * random()).toString(16).padStart(2, '0');
      const [x, y, radius] = [random() * width, height * (0.25 + 0.65 * random()), height * (0.025 + 0.07 * random() ** 2)];
      circle(context, x, y, radius, color + shade);
    }
    context.globalCompositeOperation = 'source-over';
  },
  Mint(context, width, height) {
    fill(context, vertical(context, height, ['#d8f5e6', '#9fe0c1']), width, height);
    const random = numbers(9);
    for (let i = 0; i < 7; i++)
      circle(context, random() * width, random() * height, height * (0.15 + 0.3 * random()), i % 2 ? '#ffffff30' : '#2fa87322');
  },
};

/** The background of that name at a size. */
export function paintBackground(name: string, width: number, height: number): HTMLCanvasElement {
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  BACKGROUNDS[name](canvas.getContext('2d')!, width, height);
  return canvas;
}

function vertical(context: CanvasRenderingContext2D, height: number, colors: string[]) {
  return stops(context.createLinearGradient(0, 0, 0, height), colors);
}

function stops(gradient: CanvasGradient, colors: string[]) {
  colors.forEach((color, i) => gradient.addColorStop(i / (colors.length - 1), color));
  return gradient;
}

function fill(context: CanvasRenderingContext2D, style: CanvasGradient, width: number, height: number) {
  context.fillStyle = style;
  context.fillRect(0, 0, width, height);
}

function circle(context: CanvasRenderingContext2D, x: number, y: number, radius: number, color: string) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = color;
  context.fill();
}

/** The same numbers 0-1 at each visit. */
function numbers(seed: number) {
  return () => (seed = (seed * 16807) % 2147483647) / 2147483647;
}
