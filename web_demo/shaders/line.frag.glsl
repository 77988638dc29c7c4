// The line mask = slope * grey + offset that fits each window best; with `refine` off the mask itself.
uniform sampler2D moments; // means of moments.frag.glsl
uniform bool refine;
out vec4 line; // slope, offset

void main() {
  vec4 mean = texelFetch(moments, ivec2(gl_FragCoord.xy), 0);
  float slope = refine ? (mean.z - mean.x * mean.y) / (max(mean.w - mean.x * mean.x, 0.0) + 1e-3) : 0.0;
  line = vec4(slope, mean.y - slope * mean.x, 0.0, 0.0);
}
