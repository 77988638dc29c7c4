// First step of the guided filter (He and Sun 2015): what its windows average, at the mask's size.
uniform sampler2D picture; // at the network's input size
uniform sampler2D mask;
out vec4 moments; // grey, mask, grey * mask, grey * grey

void main() {
  float p = texelFetch(mask, ivec2(gl_FragCoord.xy), 0).r;
  float g = grey(texture(picture, gl_FragCoord.xy / vec2(textureSize(mask, 0))).rgb);
  moments = vec4(g, p, g * p, g * g);
}
