#version 300 es
// In front of every other shader. Pictures lie with their first row at v = 0; masks and opacities go from 0 to 1.
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;

// BT.601 luma around 0: squares of half-float values keep more digits near 0.
float grey(vec3 rgb) {
  return dot(rgb, vec3(0.299, 0.587, 0.114)) - 0.5;
}

// The photo's colour. PLANES: a video's frame as decoders give it, `picture` is its luma.
#ifdef PLANES
uniform sampler2D chroma; // of half the size: Cb, Cr
uniform mat4 toRgb; // of (Y, Cb, Cr, 1)
vec3 photo(sampler2D picture, vec2 at) {
  return clamp((toRgb * vec4(texture(picture, at).r, texture(chroma, at).rg, 1.0)).rgb, 0.0, 1.0);
}
#else
vec3 photo(sampler2D picture, vec2 at) {
  return texture(picture, at).rgb;
}
#endif

// The person's opacity from the local model mask = slope * grey + offset. A steeper curve around the threshold: sure
// pixels become opaque or clear, the edge keeps a soft step.
float opacity(vec2 line, vec3 rgb, float threshold) {
  float mask = clamp(line.x * grey(rgb) + line.y, 0.0, 1.0);
  return clamp((mask - threshold) * 2.5 + 0.5, 0.0, 1.0);
}
