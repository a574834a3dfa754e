import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { expect, it } from 'vitest'
import { barPrinter, barWidth, duration, linePrinter } from './progress.ts'

const step = (step: number) => ({
  type: 'step' as const,
  step,
  loss: 2 / step,
  gradientNorm: 1,
  rateFactor: 1,
  tokens: 100,
  tokensPerSecond: 321.4,
  progress: { step, steps: 100, secondsLeft: 65 },
})

it('away from a terminal there is a line for every twentieth of the way and for every measurement', () => {
  const lines: string[] = []
  const { onEvent } = linePrinter((line) => lines.push(line))
  const progress = { step: 0, steps: 100, secondsLeft: undefined }
  onEvent({ type: 'untuned', devLoss: 3, progress })
  for (let at = 1; at <= 100; at++) onEvent(step(at))
  onEvent({ type: 'evaluation', step: 100, devLoss: 1.5, progress: { ...progress, step: 100 } })
  onEvent({ type: 'checkpoint', step: 100 })
  expect(lines).toHaveLength(23)
  expect(lines.slice(0, 2)).toEqual([
    'dev loss 3.0000 of the untuned backbone',
    'step 1/100: loss 2.0000, 321 tok/s, 1:05 left',
  ])
  expect(lines.at(-1)).toBe('step 100/100: dev loss 1.5000')
})

it('on a terminal a bar shows the step, the losses, tokens per second and the time left', async () => {
  const terminal = Object.assign(new PassThrough(), { isTTY: true, columns: 120 })
  {
    using printer = barPrinter(terminal)
    printer.onEvent({
      type: 'untuned',
      devLoss: 3,
      progress: { step: 0, steps: 100, secondsLeft: undefined },
    })
    for (let at = 1; at <= 50; at++) printer.onEvent(step(at))
  }
  terminal.end()
  const shown = await text(terminal)
  expect(shown).toMatch(/step 50\/100 \[.*\] loss 0\.040 · dev 3\.000 · 321 tok\/s · 1:05 left/)
  expect(shown.split('\n')).toHaveLength(2)
})

it('a bar leaves room for the time left on a terminal of 80 columns, and is never nothing', () => {
  expect([200, 80, 20].map(barWidth)).toEqual([40, 12, 4])
  const words = 'step 1234/5678 [] loss 11.234 · dev 11.234 · 1234 tok/s · 1:23:45 left'
  expect(words.length + barWidth(80)).toBeLessThan(84)
})

it('durations read as a clock', () => {
  expect([5, 65, 3725].map(duration)).toEqual(['0:05', '1:05', '1:02:05'])
})
