import { expect, test } from 'vitest'
import { GraphBuilder } from '../../model/graph/builder.ts'
import { shaped, type Value } from '../../model/graph/values.ts'
import { differentiate } from './differentiate.ts'

function total(g: GraphBuilder, x: Value): Value {
  return shaped(g.apply('ReduceSum', [x, g.constant('int64', [0])], { keepdims: 0 }), [])
}

test('nothing is computed for values that do not depend on what is trained', () => {
  const g = new GraphBuilder()
  const frozen = g.input('frozen', 'float32', [3])
  const trained = g.input('trained', 'float32', [3])
  const below = g.apply('Erf', [g.apply('Exp', [frozen])])
  const loss = total(g, g.apply('Mul', [below, trained]))
  const before = g.nodes.length
  const gradients = differentiate(g, { loss, by: [trained] })
  expect([...gradients.keys()]).toEqual(['trained'])
  expect(g.nodes.slice(before).map(({ op }) => op)).toEqual(['Unsqueeze', 'Shape', 'Expand', 'Mul'])
})

test('an input that the loss does not depend on has no gradient', () => {
  const g = new GraphBuilder()
  const [used, unused] = [g.input('used', 'float32', [3]), g.input('unused', 'float32', [3])]
  expect([...differentiate(g, { loss: total(g, used), by: [used, unused] }).keys()]).toEqual(['used'])
})

test('an op without a gradient on the way is an error that names it and says why', () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', [3])
  const loss = total(g, g.apply('Max', [x, g.constant('float32', [0])]))
  expect(() => differentiate(g, { loss, by: [x] })).toThrow('Max.0 has no gradient: it is used on integers')
})

test('an exponent that is trained is an error, and not a gradient of nothing', () => {
  const g = new GraphBuilder()
  const [x, n] = [g.input('x', 'float32', [3]), g.input('n', 'float32', [3])]
  const loss = total(g, g.apply('Pow', [x, n]))
  expect(() => differentiate(g, { loss, by: [x, n] })).toThrow('n is an exponent, which has no gradient here')
  expect([...differentiate(g, { loss, by: [x] }).keys()]).toEqual(['x'])
})

test('a size that may or may not have been repeated is an error that names the value', () => {
  const g = new GraphBuilder()
  const x = g.input('x', 'float32', ['n'])
  const loss = total(g, g.apply('Add', [x, g.input('y', 'float32', ['m'])]))
  expect(() => differentiate(g, { loss, by: [x, shaped(x, ['n'])] })).not.toThrow()
  const h = new GraphBuilder()
  const unknown = h.input('unknown', 'float32', ['n'])
  const sum = h.apply('Add', [h.input('wide', 'float32', ['m']), unknown])
  expect(() => differentiate(h, { loss: total(h, sum), by: [unknown] })).toThrow(
    'unknown [n] in a result [m]',
  )
})
