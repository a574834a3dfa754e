import { expect, test } from 'vitest'
import { GraphBuilder } from './builder.ts'

test('a product of matrices that do not fit is an error when the graph is written', () => {
  const g = new GraphBuilder()
  const a = g.input('a', 'float32', ['n', 4])
  expect(() => g.apply('MatMul', [a, g.input('b', 'float32', [5, 2])])).toThrow('a times b: 4 is not 5')
  expect(() => g.apply('Add', [a, g.input('c', 'float32', [3])])).toThrow('do not broadcast')
  expect(() => g.apply('Add', [a, g.input('d', 'int64', [4])])).toThrow('a is float32 and d int64')
})

test('results have the shapes that follow from the inputs', () => {
  const g = new GraphBuilder()
  const a = g.input('a', 'float32', ['n', 4])
  const product = g.apply('MatMul', [a, g.input('b', 'float32', [4, 2])])
  expect(product).toMatchObject({ type: 'float32', shape: ['n', 2] })
  expect(g.apply('Concat', [product, product], { axis: 1 }).shape).toEqual(['n', 4])
  const [left, right] = g.applyAll('Split', [product, g.constant('int64', [1, 1])], { axis: 1 })
  expect([left?.shape, right?.shape]).toEqual([
    ['n', 1],
    ['n', 1],
  ])
})

test('a graph holds the constants that its nodes take, branches included, each once', () => {
  const g = new GraphBuilder()
  const a = g.input('a', 'float32', ['n'])
  const condition = g.input('condition', 'bool', [])
  g.constant('float32', [9])
  const chosen = g.choose(condition, {
    when: () => g.apply('Mul', [a, g.constant('float32', [2])]),
    otherwise: () => a,
  })
  g.output('y', g.apply('Add', [chosen, g.constant('float32', [2])]))
  const graph = g.build('test')
  expect(graph.initializers.map(({ name }) => name)).toEqual(['float32[1]:2'])
  expect(graph.nodes.map(({ op }) => op)).toEqual(['If', 'Add'])
})

test('a branch gives its own values as they are and copies those from around it', () => {
  const g = new GraphBuilder()
  const a = g.input('a', 'float32', ['n'])
  const condition = g.input('condition', 'bool', [])
  const [first, second] = g.choosePair(condition, {
    when: () => [g.apply('Abs', [a]), a],
    otherwise: () => [a, a],
  })
  expect([first, second]).toMatchObject([
    { type: 'float32', shape: ['n'] },
    { type: 'float32', shape: ['n'] },
  ])
  const [node] = g.build('test').nodes
  const branches = Object.values(node?.attributes ?? {}).flatMap((branch) =>
    typeof branch === 'object' && 'nodes' in branch ? [branch.nodes.map(({ op }) => op)] : [],
  )
  expect(branches).toEqual([
    ['Abs', 'Identity'],
    ['Identity', 'Identity'],
  ])
})
