export interface Screen extends Disposable {
  /** Replaces what is shown. */
  draw(lines: readonly string[]): void
  readonly size: { readonly width: number; readonly height: number }
  /** Resolves when the user wants to leave: q, Ctrl-C, Ctrl-D or a signal. */
  readonly left: Promise<void>
  /** Called when the terminal's size changes. */
  onResize(redraw: () => void): void
}

const enter = '\x1b[?1049h\x1b[?25l'
const leave = '\x1b[?25h\x1b[?1049l'
/** Terminals that know synchronized output show a frame at once; others ignore it. */
const beginFrame = '\x1b[?2026h\x1b[H'
const endFrame = '\x1b[J\x1b[?2026l'
const eraseToEnd = '\x1b[K'
const leavingKeys = ['q', 'Q', '\x03', '\x04']
const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** The parts of `process.stdin` and `process.stdout` that are used. */
export interface Terminal {
  readonly input: {
    readonly isTTY: boolean
    setRawMode(raw: boolean): unknown
    on(event: 'data', listener: (data: Buffer) => void): unknown
    off(event: 'data', listener: (data: Buffer) => void): unknown
    pause(): unknown
    resume(): unknown
  }
  readonly output: {
    readonly columns: number
    readonly rows: number
    write(text: string): unknown
    on(event: 'resize', listener: () => void): unknown
    off(event: 'resize', listener: () => void): unknown
  }
}

/** Takes the whole terminal until it is disposed of, on every path out of the process; then all is as it was. */
export function openScreen({ input, output }: Terminal): Screen {
  const { promise: left, resolve: leaveNow } = Promise.withResolvers<void>()
  const onKey = (data: Buffer) => {
    const keys = data.toString('latin1')
    if (leavingKeys.some((key) => keys.includes(key))) leaveNow()
  }
  const resized: (() => void)[] = []
  const onResize = () => {
    for (const redraw of resized) redraw()
  }
  let isOpen = true
  const close = () => {
    if (!isOpen) return
    isOpen = false
    output.write(leave)
    output.off('resize', onResize)
    input.off('data', onKey)
    if (input.isTTY) input.setRawMode(false)
    input.pause()
    process.off('exit', close)
    for (const signal of signals) process.off(signal, leaveNow)
  }
  process.on('exit', close)
  for (const signal of signals) process.on(signal, leaveNow)
  if (input.isTTY) input.setRawMode(true)
  input.on('data', onKey)
  input.resume()
  output.on('resize', onResize)
  output.write(enter)
  return {
    left,
    onResize: (redraw) => resized.push(redraw),
    get size() {
      return { width: output.columns ?? 80, height: output.rows ?? 24 }
    },
    draw(lines) {
      if (!isOpen) return
      output.write(beginFrame + lines.map((line) => line + eraseToEnd).join('\r\n') + endFrame)
    },
    [Symbol.dispose]: close,
  }
}
