import { expect, it } from 'vitest'
import { lossCurve } from './loss-curve.ts'
import type { TrainRecord } from './record.ts'

const step = (number: number, loss: number): TrainRecord => ({
  type: 'step',
  step: number,
  loss,
  gradientNorm: 1,
  rateFactor: 1,
  tokens: 10,
  tokensPerSecond: 100,
})

const history: TrainRecord[] = [
  { type: 'untuned', devLoss: 4 },
  step(1, 4),
  step(2, 2),
  { type: 'evaluation', step: 2, devLoss: 1 },
]

const heights = (svg: string, color: string) =>
  [...svg.matchAll(new RegExp(`<polyline[^>]*stroke="${color}"[^>]*points="([^"]*)"`, 'g'))].flatMap(
    ([, points]) => (points ?? '').split(' ').map((point) => Number(point.split(',')[1])),
  )

it('draws a falling loss as a falling line, the dev loss below it, and the untuned one across', () => {
  const svg = lossCurve(history, 'Loss')
  const [first = 0, second = 0] = heights(svg, '#b8c4d6')
  expect(second).toBeGreaterThan(first)
  const [dev = 0] = heights(svg, '#c2410c')
  expect(dev).toBeGreaterThan(second)
  expect(svg).toContain(`M56 ${first.toFixed(1)}H704" stroke="#888"`)
})

it('draws a training of hundreds of thousands of steps', () => {
  const steps = Array.from({ length: 200_000 }, (_, i) => step(i + 1, 2))
  const evaluations = steps.map((_, i): TrainRecord => ({ type: 'evaluation', step: i + 1, devLoss: 1 }))
  const svg = lossCurve([...steps, ...evaluations], 'Loss')
  expect(heights(svg, '#b8c4d6')).toHaveLength(200_000)
  expect(svg).toContain('text-anchor="middle" fill="#555">200000</text>')
})

it('draws what there is: nothing, or a single step', () => {
  for (const part of [[], history.slice(0, 2)]) {
    expect(lossCurve(part, 'a < b & c')).toContain('a &lt; b &amp; c')
    expect(lossCurve(part, '')).not.toMatch(/NaN|Infinity|undefined/)
  }
})
