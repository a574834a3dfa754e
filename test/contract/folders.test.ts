import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Who may import whom at value level; a folder at the root that is not here may import any that is. */
const arrows: Readonly<Record<string, readonly string[]>> = {
  shared: [],
  console: ['shared'],
  edge: ['shared'],
  model: ['shared'],
  'gpu-node': ['model', 'shared'],
  training: ['model', 'shared'],
}

/** The files that one file imports by value, and all that it imports. */
interface Imports {
  readonly file: string
  readonly values: readonly string[]
  readonly all: readonly string[]
}

const statement = /^(?:import|export)\s+(type\s)?(?:([^'"]*?)\sfrom\s+)?['"](\.[^'"]+)['"]/gm
const dynamic = /\bimport\(\s*['"](\.[^'"]+)['"]\s*\)/g

/** `{ type A, type B }` imports no value, a bare `import 'x'` does. */
const isTypeOnly = (names: string | undefined) =>
  names !== undefined &&
  /^\{[\s\S]*\}$/.test(names.trim()) &&
  names
    .trim()
    .slice(1, -1)
    .split(',')
    .filter((name) => name.trim() !== '')
    .every((name) => name.trim().startsWith('type '))

function importsOf(file: string): Imports {
  const text = readFileSync(join(root, file), 'utf8')
  const target = (path: string) => normalize(join(dirname(file), path))
  const found = [...text.matchAll(statement)].map(([, type, names, path = '']) => ({
    path: target(path),
    isValue: type === undefined && !isTypeOnly(names),
  }))
  const later = [...text.matchAll(dynamic)].map(([, path = '']) => ({ path: target(path), isValue: true }))
  const all = [...found, ...later]
  return {
    file,
    values: all.filter(({ isValue }) => isValue).map(({ path }) => path),
    all: all.map(({ path }) => path),
  }
}

const files = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '--', '*.ts', '*.tsx'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(root, file)))
const isProduct = (file: string) => !/\.test\.tsx?$/.test(file) && !file.startsWith('test/')
const product = files.filter(isProduct).map(importsOf)
const top = (file: string) => file.split('/')[0] ?? ''

test('imports are read as they are', () => {
  expect(isTypeOnly('{ type A, type B }')).toBe(true)
  expect(isTypeOnly('{ type A, b }')).toBe(false)
  expect(isTypeOnly(undefined)).toBe(false)
  const app = product.find(({ file }) => file === 'edge/app.ts')
  expect(app?.values).toContain('edge/auth/authenticate.ts')
  expect(app?.values).not.toContain('edge/request-context.ts')
})

test('imports point one way: edge and gpu-node never meet, and shared imports none', () => {
  const wrong = product.flatMap(({ all, file }) => {
    const allowed = arrows[top(file)]
    return all
      .filter(
        (path) =>
          allowed !== undefined &&
          path.endsWith('.ts') &&
          top(path) !== top(file) &&
          !allowed.includes(top(path)),
      )
      .map((path) => `${file} → ${path}`)
  })
  expect(wrong).toEqual([])
})

test('no product file imports a test or a fake', () => {
  const wrong = product
    .filter(({ file }) => Object.hasOwn(arrows, top(file)))
    .flatMap(({ all, file }) => all.filter((path) => !isProduct(path)).map((path) => `${file} → ${path}`))
  expect(wrong).toEqual([])
})

test('KV and R2 are known to edge/store alone', () => {
  const knows = product
    .filter(({ file }) => /\b(KVNamespace|R2[A-Z]\w+)\b/.test(readFileSync(join(root, file), 'utf8')))
    .map(({ file }) => dirname(file))
  expect([...new Set(knows)]).toEqual(['edge/store'])
})

/** Folders that reach each other by the values that they import, as lists of those in one circle. */
function circles(imports: readonly Imports[]): string[][] {
  const edges = new Map<string, Set<string>>()
  for (const { file, values } of imports)
    for (const path of values) {
      const [from, to] = [dirname(file), dirname(path)]
      if (from !== to) edges.set(from, (edges.get(from) ?? new Set()).add(to))
    }
  const reach = (start: string) => {
    const seen = new Set<string>()
    const open = [start]
    for (let next = open.pop(); next !== undefined; next = open.pop())
      for (const to of edges.get(next) ?? [])
        if (!seen.has(to)) {
          seen.add(to)
          open.push(to)
        }
    return seen
  }
  const reached = new Map([...edges.keys()].map((folder) => [folder, reach(folder)]))
  const inCircle = [...reached].filter(([folder, to]) => to.has(folder)).map(([folder]) => folder)
  const groups = Map.groupBy(inCircle, (folder) =>
    inCircle.filter((other) => reached.get(folder)?.has(other) && reached.get(other)?.has(folder)).join(' '),
  )
  return [...groups.values()]
}

test('no two folders import each other, directly or over others', () => {
  expect(circles(product)).toEqual([])
})
