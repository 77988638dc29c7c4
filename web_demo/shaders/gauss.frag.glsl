// One direction of a Gaussian.
uniform sampler2D plane;
uniform ivec2 direction; // (1, 0) or (0, 1)
uniform float weights[9]; // from the middle outwards; with both sides their sum is 1
out vec4 color;

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  ivec2 last = textureSize(plane, 0) - 1;
  color = weights[0] * texelFetch(plane, at, 0);
  for (int i = 1; i < 9; i++) {
    vec4 low = texelFetch(plane, max(at - i * direction, ivec2(0)), 0);
    color += weights[i] * (low + texelFetch(plane, min(at + i * direction, last), 0));
  }
}
