import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { openScreen } from './screen.ts'

class FakeInput extends EventEmitter {
  readonly isTTY = true
  raw = false
  setRawMode = (raw: boolean) => {
    this.raw = raw
    return this
  }
  pause = () => this
  resume = () => this
}

class FakeOutput extends EventEmitter {
  columns = 80
  rows = 24
  written = ''
  write = (text: string) => {
    this.written += text
    return true
  }
}

const open = () => {
  const input = new FakeInput()
  const output = new FakeOutput()
  const screen = openScreen({ input, output })
  return { input, output, screen }
}

test.each(['q', '\x03'])('%j leaves, and the terminal is as it was', async (key) => {
  const { input, output, screen } = open()
  expect(input.raw).toBe(true)
  input.emit('data', Buffer.from(key))
  await screen.left
  screen[Symbol.dispose]()
  expect(input.raw).toBe(false)
  expect(output.written.endsWith('\x1b[?25h\x1b[?1049l')).toBe(true)
  expect(output.listenerCount('resize')).toBe(0)
})

test('a frame is one write that never clears the screen first', () => {
  const { output, screen } = open()
  const before = output.written.length
  screen.draw(['a', 'b'])
  const frame = output.written.slice(before)
  expect(frame).toBe('\x1b[?2026h\x1b[Ha\x1b[K\r\nb\x1b[K\x1b[J\x1b[?2026l')
  screen[Symbol.dispose]()
  screen.draw(['late'])
  expect(output.written).not.toContain('late')
})

test('a new size is drawn at once', () => {
  const { output, screen } = open()
  let drawn = 0
  screen.onResize(() => {
    drawn += 1
  })
  output.columns = 40
  output.emit('resize')
  expect(drawn).toBe(1)
  expect(screen.size).toEqual({ width: 40, height: 24 })
  screen[Symbol.dispose]()
})
