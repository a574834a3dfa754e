import type { TrainRecord } from './record.ts'

interface Point {
  readonly step: number
  readonly loss: number
}

const width = 720
const height = 400
const margin = { left: 56, right: 16, top: 40, bottom: 44 }

interface Series {
  readonly name: string
  readonly color: string
  readonly points: readonly Point[]
  readonly marks: boolean
}

/** The losses of a training over its steps, as an SVG drawing: train, its running mean, dev and the untuned backbone. */
export function lossCurve(history: readonly TrainRecord[], title: string): string {
  const train = history.flatMap((record) => (record.type === 'step' ? [record] : []))
  const dev = history.flatMap((record) =>
    record.type === 'evaluation' ? [{ step: record.step, loss: record.devLoss }] : [],
  )
  const untuned = history.find((record) => record.type === 'untuned')?.devLoss
  const series: Series[] = [
    { name: 'train', color: '#b8c4d6', points: train, marks: false },
    { name: 'train, mean of 10 steps', color: '#2b5fa8', points: runningMean(train, 10), marks: false },
    { name: 'dev', color: '#c2410c', points: dev, marks: true },
  ]
  const losses = [...series.flatMap(({ points }) => points.map(({ loss }) => loss)), untuned ?? 0]
  const steps = largest(
    [...train, ...dev].map(({ step }) => step),
    1,
  )
  const top = ceiling(largest(losses, 0))
  const x = (step: number) => margin.left + (step / steps) * (width - margin.left - margin.right)
  const y = (loss: number) => height - margin.bottom - (loss / top) * (height - margin.top - margin.bottom)
  const drawn = series.filter(({ points }) => points.length > 0)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="12">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${margin.left}" y="20" font-size="14">${escaped(title)}</text>`,
    ...ticks(top).map((loss) => horizontal(y(loss), label(loss))),
    ...ticks(steps)
      .filter(Number.isInteger)
      .map(
        (step) =>
          `<text x="${n(x(step))}" y="${height - margin.bottom + 18}" text-anchor="middle" fill="#555">${step}</text>`,
      ),
    `<text x="${width / 2}" y="${height - 8}" text-anchor="middle" fill="#555">step</text>`,
    `<text x="14" y="${height / 2}" text-anchor="middle" fill="#555" transform="rotate(-90 14 ${height / 2})">loss per response token</text>`,
    ...(untuned === undefined ? [] : [untunedLine(y(untuned))]),
    ...drawn.map(
      ({ points, color }) =>
        `<polyline fill="none" stroke="${color}" stroke-width="1.5" points="${points.map(({ step, loss }) => `${n(x(step))},${n(y(loss))}`).join(' ')}"/>`,
    ),
    ...drawn
      .filter(({ marks }) => marks)
      .flatMap(({ points, color }) =>
        points.map(
          ({ step, loss }) => `<circle cx="${n(x(step))}" cy="${n(y(loss))}" r="3" fill="${color}"/>`,
        ),
      ),
    ...drawn.map(
      ({ name, color }, i) =>
        `<text x="${width - margin.right}" y="${margin.top + 14 * i}" text-anchor="end" fill="${color}">${escaped(name)}</text>`,
    ),
    '</svg>\n',
  ].join('\n')
}

function horizontal(y: number, text: string): string {
  return `<path d="M${margin.left} ${n(y)}H${width - margin.right}" stroke="#e5e5e5"/><text x="${margin.left - 6}" y="${n(y + 4)}" text-anchor="end" fill="#555">${text}</text>`
}

function untunedLine(y: number): string {
  return `<path d="M${margin.left} ${n(y)}H${width - margin.right}" stroke="#888" stroke-dasharray="4 4"/><text x="${margin.left + 4}" y="${n(y - 4)}" fill="#888">untuned, dev</text>`
}

function runningMean(points: readonly Point[], span: number): Point[] {
  return points.map(({ step }, i) => {
    const part = points.slice(Math.max(0, i + 1 - span), i + 1)
    return { step, loss: part.reduce((sum, { loss }) => sum + loss, 0) / part.length }
  })
}

/** The largest of the values, and at least this. A call takes no more than some 130,000 arguments, so it is a loop. */
function largest(values: readonly number[], least: number): number {
  return values.reduce((most, value) => Math.max(most, value), least)
}

/** The next of 1, 2 or 5 times a power of ten. */
function ceiling(value: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1e-6)))
  return [1, 2, 5, 10].map((factor) => factor * power).find((round) => round >= value) ?? value
}

/** About five round values from 0 to `most`. */
function ticks(most: number): number[] {
  const step = ceiling(most / 5)
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => i * step)
}

const n = (value: number) => value.toFixed(1)
const label = (value: number) => String(Number(value.toPrecision(4)))
const escaped = (text: string) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
