import { Random } from '../../shared/prng.ts'

/** Draws for one tensor, which depend on the seed and the tensor's name alone. */
export function drawsOf(name: string, seed: number): Random {
  let hash = 0x811c9dc5
  for (const char of name) hash = Math.imul(hash ^ (char.codePointAt(0) ?? 0), 0x01000193)
  return new Random(seed * 2 ** 22 + ((hash >>> 0) % 2 ** 22))
}

/** Independent normal values with this standard deviation (Box and Muller, 1958). */
export function normal(
  length: number,
  { random, deviation }: { random: Random; deviation: number },
): Float32Array {
  return Float32Array.from({ length }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - random.next()))
    return deviation * radius * Math.cos(2 * Math.PI * random.next())
  })
}
