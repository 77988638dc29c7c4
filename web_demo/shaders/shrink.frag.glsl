// The background in small, each colour counted as far as it is background, so that nobody's outline glows.
uniform sampler2D picture;
uniform sampler2D lines; // slope and offset of the mask
uniform float threshold;
uniform vec2 target; // (width, height)
out vec4 color; // colour * weight, weight

void main() {
  color = vec4(0.0);
  for (int i = 0; i < 16; i++) { // each between four pixels
    vec2 at = (gl_FragCoord.xy - 0.5 + (vec2(i & 3, i >> 2) + 0.5) / 4.0) / target;
    vec3 rgb = photo(picture, at);
    float weight = 1.001 - opacity(texture(lines, at).xy, rgb, threshold);
    color += vec4(rgb * weight, weight) / 16.0;
  }
}
