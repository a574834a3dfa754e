import { expect, test } from 'vitest'
import { neighbourFigures } from './gpu-neighbours.ts'
import { isGood } from './report.ts'

test('a sequence of NaN leaves its neighbours’ logits as they are, beside it, behind it and in its memory', async () => {
  for (const cacheType of ['f32', 'int8'] as const) {
    const steps: string[] = []
    const figures = await neighbourFigures(
      { device: 'cpu', cacheType },
      { step: (text) => void steps.push(text) },
    )
    const [difference, numbers] = figures
    expect(figures.every(isGood)).toBe(true)
    expect(difference?.value).toBe(0)
    // The sequence takes part in five steps.
    expect(numbers?.unit).toBe(`of ${5 * 256}`)
    expect(steps.length).toBe(2)
  }
})
