// Means over 2 radius + 1 pixels of a row or a column, the picture mirrored at its border as cv2.blur does.
uniform sampler2D plane;
uniform ivec2 direction; // (1, 0) or (0, 1)
uniform int radius;
out vec4 mean;

void main() {
  ivec2 middle = ivec2(gl_FragCoord.xy);
  ivec2 last = textureSize(plane, 0) - 1;
  ivec2 reach = radius * direction;
  vec4 sum = vec4(0.0);
  if (all(greaterThanEqual(middle - reach, ivec2(0))) && all(lessThanEqual(middle + reach, last))) {
    for (int i = -radius; i <= radius; i++) sum += texelFetch(plane, middle + i * direction, 0);
  } else {
    for (int i = -radius; i <= radius; i++) {
      ivec2 at = abs(middle + i * direction);
      sum += texelFetch(plane, clamp(last - abs(last - at), ivec2(0), last), 0);
    }
  }
  mean = sum / float(2 * radius + 1);
}
