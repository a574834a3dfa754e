import { expect, test } from 'vitest'
import { allowedMethods } from './allowed-methods.ts'

test('a path has the methods of its routes, each once, and HEAD where it has GET; middleware has none', () => {
  const routes = [
    { method: 'ALL', path: '/*' },
    { method: 'POST', path: '/a' },
    { method: 'POST', path: '/a' },
    { method: 'GET', path: '/a' },
    { method: 'PUT', path: '/a/:b' },
  ]
  expect([...allowedMethods(routes)]).toEqual([
    ['/a', ['GET', 'HEAD', 'POST']],
    ['/a/:b', ['PUT']],
  ])
})
