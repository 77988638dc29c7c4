// A camera's or video's frame as its planes lie in memory, upright and in RGB: for the app (a browser gives RGB).
// One byte a texel; a row of a texture is a row of the plane with its padding. All numbers as Sampling.kt has them.
uniform sampler2D luma;
uniform sampler2D u;
uniform sampler2D v;
uniform ivec2 pixelStride; // of luma and of chroma
uniform ivec2 right; // the step in the stored frame for one pixel to the right
uniform ivec2 down;
uniform ivec2 start; // where the upper left pixel is stored
uniform ivec2 light; // black, gain
uniform ivec2 redBlue; // of v, of u; in 1/65536 as the gain
uniform ivec2 green; // of u, of v
out vec4 color;

int at(sampler2D plane, ivec2 place, int stride) {
  return int(texelFetch(plane, ivec2(place.x * stride, place.y), 0).r * 255.0 + 0.5);
}

void main() {
  ivec2 here = ivec2(gl_FragCoord.xy);
  ivec2 stored = start + here.x * right + here.y * down;
  int grey = max(0, at(luma, stored, pixelStride.x) - light.x) * light.y + 32768;
  int cu = at(u, stored >> 1, pixelStride.y) - 128;
  int cv = at(v, stored >> 1, pixelStride.y) - 128;
  ivec3 rgb = ivec3(grey + redBlue.x * cv, grey + green.x * cu + green.y * cv, grey + redBlue.y * cu) >> 16;
  color = vec4(vec3(clamp(rgb, 0, 255)) / 255.0, 1.0);
}
