// The finished picture at full size, a program for each EFFECT (renderer.ts); 0 is the photo alone.
// One texture of the photo, one of the mask's lines, one of what is behind.
uniform sampler2D picture;
uniform sampler2D lines; // slope and offset of the mask
uniform sampler2D behind; // colour * weight and weight of a blur, or a picture
uniform usampler2D classes; // of each pixel of the network's output
uniform sampler2D palette; // 256 x 1: a class's colour; opacity 0 for what is left as it is
uniform vec3 paint;
uniform float threshold;
uniform vec2 target; // (width, height)
uniform vec2 cover; // the share of `behind` that is seen, so that it keeps its shape
uniform bool mirror;
out vec4 color; // premultiplied

// The likeliest class of four neighbours by their bilinear weights: a smooth line instead of steps.
uint classAt(vec2 at) {
  ivec2 size = textureSize(classes, 0);
  vec2 place = clamp(at * vec2(size) - 0.5, vec2(0.0), vec2(size - 1));
  ivec2 low = ivec2(place);
  vec2 part = place - vec2(low);
  uint names[4];
  float shares[4];
  for (int i = 0; i < 4; i++) {
    ivec2 corner = ivec2(i & 1, i >> 1);
    names[i] = texelFetch(classes, min(low + corner, size - 1), 0).r;
    vec2 share = mix(1.0 - part, part, vec2(corner));
    shares[i] = share.x * share.y;
  }
  uint best = 0u;
  float most = -1.0;
  for (int i = 0; i < 4; i++) {
    float votes = 0.0;
    for (int j = 0; j < 4; j++) votes += names[j] == names[i] ? shares[j] : 0.0;
    if (votes > most) {
      most = votes;
      best = names[i];
    }
  }
  return best;
}

void main() {
  vec2 seen = vec2(gl_FragCoord.x / target.x, 1.0 - gl_FragCoord.y / target.y);
  vec2 at = vec2(mirror ? 1.0 - seen.x : seen.x, seen.y);
  vec3 rgb = photo(picture, at);
#if EFFECT == 0
  color = vec4(rgb, 1.0);
#elif EFFECT == 6
  vec4 tint = texelFetch(palette, ivec2(int(classAt(at)), 0), 0);
  color = vec4(mix(rgb, tint.rgb, 0.5 * tint.a), 1.0);
#else
  float front = opacity(texture(lines, at).xy, rgb, threshold);
#if EFFECT == 1
  vec4 blurred = texture(behind, at);
  color = vec4(mix(blurred.rgb / blurred.a, rgb, front), 1.0);
#elif EFFECT == 2
  color = vec4(mix(texture(behind, (seen - 0.5) * cover + 0.5).rgb, rgb, front), 1.0);
#elif EFFECT == 3
  color = vec4(mix(paint, rgb, front), 1.0);
#elif EFFECT == 4
  color = vec4(rgb * front, front);
#else
  color = vec4(mix(rgb, paint, 0.5 * front), 1.0);
#endif
#endif
}
