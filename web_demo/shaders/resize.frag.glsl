// A picture at the network's input size, byte for byte what cv2.resize(INTER_LINEAR) makes: weights of 11 bits, and
// its rounding.
uniform sampler2D picture;
uniform vec2 target; // (width, height)
out vec4 color;

ivec4 bytes(ivec2 at) {
  return ivec4(texelFetch(picture, at, 0) * 255.0 + 0.5);
}

void main() {
  ivec2 size = textureSize(picture, 0);
  vec2 place = clamp(gl_FragCoord.xy * vec2(size) / target - 0.5, vec2(0.0), vec2(size - 1));
  ivec2 low = min(ivec2(place), max(size - 2, 0));
  ivec2 high = min(low + 1, size - 1);
  ivec2 right = ivec2((place - vec2(low)) * 2048.0 + 0.5);
  ivec2 left = 2048 - right;
  ivec4 top = bytes(low) * left.x + bytes(ivec2(high.x, low.y)) * right.x;
  ivec4 bottom = bytes(ivec2(low.x, high.y)) * left.x + bytes(high) * right.x;
  color = vec4((((top >> 4) * left.y >> 16) + ((bottom >> 4) * right.y >> 16) + 2) >> 2) / 255.0;
}
