import { Random } from '../../shared/prng.ts'
import type { Example } from './example.ts'

/** Batches that are cut from one sorted stretch of a shuffled epoch. */
const stretch = 8

/** A whole number that draws of different purposes and epochs do not share. */
const seedOf = (seed: number, epoch: number) => seed * 2 ** 20 + (epoch % 2 ** 20)

/** Fisher–Yates. */
export function shuffled<T>(items: readonly T[], random: Random): T[] {
  const result = [...items]
  for (let end = result.length - 1; end > 0; end--) {
    const at = Math.floor(random.next() * (end + 1))
    const [a, b] = [result[at], result[end]]
    if (a === undefined || b === undefined) throw new Error('an index is within the array')
    result[at] = b
    result[end] = a
  }
  return result
}

function cut<T>(items: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, part) =>
    items.slice(part * size, (part + 1) * size),
  )
}

export const lengthOf = ({ instruction, response }: Example) => instruction.length + response.length

/**
 * The batches of a training, by number from 0. Every epoch is shuffled anew, and examples of similar length come
 * together so that little is padded. A batch depends on the seed and its number alone, so a training can go on from
 * any step.
 */
export class Batches {
  readonly #examples: readonly Example[]
  readonly #size: number
  readonly #seed: number
  #epoch: { readonly number: number; readonly batches: readonly (readonly Example[])[] } | undefined

  constructor(examples: readonly Example[], { size, seed }: { size: number; seed: number }) {
    this.#examples = examples
    this.#size = size
    this.#seed = seed
  }

  get perEpoch(): number {
    return Math.ceil(this.#examples.length / this.#size)
  }

  at(number: number): readonly Example[] {
    const epoch = Math.floor(number / this.perEpoch)
    if (this.#epoch?.number !== epoch) this.#epoch = { number: epoch, batches: this.#shuffle(epoch) }
    return this.#epoch.batches[number % this.perEpoch] ?? []
  }

  #shuffle(epoch: number): Example[][] {
    const random = new Random(seedOf(this.#seed, epoch))
    const batches = cut(shuffled(this.#examples, random), this.#size * stretch).flatMap((part) =>
      cut(
        part.toSorted((a, b) => lengthOf(a) - lengthOf(b)),
        this.#size,
      ),
    )
    return shuffled(batches, random)
  }
}
