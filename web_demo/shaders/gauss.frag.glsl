// One direction of a Gaussian of `sigma` pixels.
uniform sampler2D plane;
uniform ivec2 direction; // (1, 0) or (0, 1)
uniform float sigma;
out vec4 color;

void main() {
  ivec2 last = textureSize(plane, 0) - 1;
  int radius = int(ceil(2.5 * sigma));
  vec4 sum = vec4(0.0);
  float weights = 0.0;
  for (int i = -radius; i <= radius; i++) {
    float weight = exp(-0.5 * float(i * i) / (sigma * sigma));
    sum += weight * texelFetch(plane, clamp(ivec2(gl_FragCoord.xy) + i * direction, ivec2(0), last), 0);
    weights += weight;
  }
  color = sum / weights;
}
