import { expect, it, vi } from 'vitest'
import { note, print, printable, printTable, tableLines } from './output.ts'

it.each([
  ['\u001b[31mred\u001b[0m', 'red'],
  ['\u001b[2J\u001b[1;1Hgone', 'gone'],
  ['\u009b31mred', 'red'],
  ['\u001b]0;title\u0007text', 'text'],
  ['\u001b]52;c;ZXZpbA==\u001b\\text', 'text'],
  ['\u001bcreset', 'reset'],
  ['over\rwritten\b\u0000\u007f', 'overwritten'],
  ['a\u202etxt.exe', 'atxt.exe'],
  ['cut \u001b', 'cut '],
  ['cut \u001b]0;open', 'cut ;open'],
  ['tab\tand\nline', 'tab\tand\nline'],
  ['Grüße, 日本 😀', 'Grüße, 日本 😀'],
])('%j is shown as %j', (text, shown) => {
  expect(printable(text)).toBe(shown)
})

it('printed and noted text moves no cursor', () => {
  const written: string[] = []
  const write = (text: string | Uint8Array) => written.push(String(text)) > 0
  const spies = [process.stdout, process.stderr].map((stream) =>
    vi.spyOn(stream, 'write').mockImplementation(write),
  )
  print('name \u001b[2Jx')
  note('message \u001b]0;y\u0007z')
  for (const spy of spies) spy.mockRestore()
  expect(written).toEqual(['name x\n', 'message z\n'])
})

it('a table has a line for each row, whatever its cells hold, and as many rows as there are', () => {
  const rows = Array.from({ length: 200_000 }, (_, at) => [`row ${at}`, at === 1 ? 'a\nb\u001b[31m' : ''])
  const lines = tableLines([['name', 'note'], ...rows])
  expect(lines).toHaveLength(rows.length + 1)
  expect(lines.slice(0, 3)).toEqual(['name        note', 'row 0', 'row 1       a b'])
})

it('a table without rows says what there is none of, apart from results', () => {
  const written: string[] = []
  const write = (text: string | Uint8Array) => written.push(String(text)) > 0
  const stdout = vi.spyOn(process.stdout, 'write')
  const stderr = vi.spyOn(process.stderr, 'write').mockImplementation(write)
  printTable(['alias', 'adapter'], [])
  printTable(['when', 'shadow'], [], 'answer of a shadow of safe')
  expect(stdout).not.toHaveBeenCalled()
  for (const spy of [stdout, stderr]) spy.mockRestore()
  expect(written).toEqual(['no alias\n', 'no answer of a shadow of safe\n'])
})
