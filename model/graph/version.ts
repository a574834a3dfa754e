/**
 * Version of the graphs that `exportGraph` writes. Raise it with every change to them: a backbone folder that holds
 * older ones is then refused, and `pull` converts it anew. The digest does not tell, as it covers the weights alone.
 */
export const graphVersion = 8
