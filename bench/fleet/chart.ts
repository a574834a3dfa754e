/** Lines over time, one panel under the other, as an SVG document that needs nothing else. */

interface Line {
  readonly name: string
  readonly colour: string
  readonly points: readonly { readonly x: number; readonly y: number }[]
}

export interface ChartPanel {
  readonly title: string
  readonly top: number
  readonly lines: readonly Line[]
  /** A level to compare with. */
  readonly reference: { readonly y: number; readonly name: string }
}

const width = 776
const panelHeight = 190
const margin = { left: 52, right: 32, top: 34, bottom: 26 }

export function chart({
  title,
  panels,
  seconds,
}: {
  title: string
  panels: readonly ChartPanel[]
  seconds: number
}): string {
  const height = 60 + panels.length * (panelHeight + margin.top + margin.bottom)
  const legend = (panels[0]?.lines ?? []).map(
    ({ colour, name }, at) =>
      `<g transform="translate(${margin.left + at * 190} 44)"><rect width="18" height="3" y="-4" fill="${colour}"/><text x="24">${name}</text></g>`,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title>${title}</title>`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${margin.left}" y="22" font-size="15" font-weight="600">${title}</text>`,
    ...legend,
    ...panels.map((panel, at) => drawn(panel, { at, seconds })),
    '</svg>\n',
  ].join('\n')
}

function drawn(
  { lines, reference, title, top }: ChartPanel,
  { at, seconds }: { at: number; seconds: number },
): string {
  const y0 = 60 + at * (panelHeight + margin.top + margin.bottom) + margin.top
  const x = (second: number) => margin.left + (second / seconds) * (width - margin.left - margin.right)
  const y = (value: number) => y0 + panelHeight * (1 - Math.min(value, top) / top)
  const ticks = Array.from({ length: 5 }, (_, tick) => (tick * top) / 4)
  const minutes = Array.from({ length: Math.floor(seconds / 60) + 1 }, (_, minute) => minute)
  const path = ({ points }: Line) =>
    points.map((point) => `${x(point.x).toFixed(1)},${y(point.y).toFixed(1)}`).join(' ')
  const right = width - margin.right
  return [
    `<text x="${margin.left}" y="${y0 - 12}" font-weight="600">${title}</text>`,
    ...ticks.map(
      (tick) =>
        `<line x1="${margin.left}" x2="${right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#e2e2e2"/><text x="${margin.left - 8}" y="${y(tick) + 4}" text-anchor="end" fill="#555">${tick}</text>`,
    ),
    ...minutes.map(
      (minute) =>
        `<text x="${x(minute * 60)}" y="${y0 + panelHeight + 16}" text-anchor="middle" fill="#555">${minute} min</text>`,
    ),
    ...lines.map(
      (line) => `<polyline points="${path(line)}" fill="none" stroke="${line.colour}" stroke-width="1.8"/>`,
    ),
    `<line x1="${margin.left}" x2="${right}" y1="${y(reference.y)}" y2="${y(reference.y)}" stroke="#222" stroke-dasharray="5 4"/>`,
    `<text x="${right}" y="${y(reference.y) - 5}" text-anchor="end">${reference.name}</text>`,
  ].join('\n')
}
