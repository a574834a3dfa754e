import { expect, test } from 'vitest'
import { NodeUrl } from './node-url.ts'

test.each([
  ['http://10.0.0.7:8788', 'http://10.0.0.7:8788'],
  ['http://10.0.0.7:8788/', 'http://10.0.0.7:8788'],
  ['https://gpu-7.example.com', 'https://gpu-7.example.com'],
  ['http://[::1]:8788', 'http://[::1]:8788'],
])('%s is where a node is reached', (given, origin) => {
  expect(NodeUrl.parse(given)).toBe(origin)
})

test.each([
  ['ftp://gpu-7', /http or https/],
  ['javascript:alert(1)', /http or https/],
  ['gpu-7:8788', /http or https/],
  ['', /http or https/],
  ['http://user@gpu-7', /user name/],
  ['http://:secret@gpu-7', /user name/],
  ['http://gpu-7/v1/generate', /path/],
  ['http://gpu-7/?to=elsewhere', /query/],
  ['http://gpu-7/#there', /fragment/],
  [`http://${'x'.repeat(250)}`, /at most 256/],
])('%s is not', (given, says) => {
  expect(NodeUrl.safeParse(given).error?.issues[0]?.message).toMatch(says)
})
