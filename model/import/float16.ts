/** The value of every IEEE 754 binary16 bit pattern. */
const values = new Float32Array(1 << 16)
for (let bits = 0; bits < values.length; bits++) {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) values[bits] = sign * fraction * 2 ** -24
  else if (exponent === 0x1f) values[bits] = fraction === 0 ? sign * Infinity : NaN
  else values[bits] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}

/** The f32 value of 16 bits of IEEE 754 binary16; exact. */
export function float16ToNumber(bits: number): number {
  return values[bits & 0xffff] ?? NaN
}
