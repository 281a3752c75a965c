// RUN: ds-reference %s

// Numbers with many digits are torch's, in f64.

func.func @linear_transposed() {
  %x = ds.constant dense<[[1.0, 2.0], [3.0, -1.0]]> : tensor<2x2xf64>
  %w = ds.constant dense<[[1.0, 0.0, 2.0], [-1.0, 4.0, 0.5]]> : tensor<2x3xf64>
  %b = ds.constant dense<[0.0, 1.0, -1.0]> : tensor<3xf64>
  %y = ds.linear %x, %w transposed bias %b : tensor<2x2xf64>, tensor<2x3xf64>, tensor<3xf64>
  %e_y = ds.constant dense<[[-1.0, 9.0, 2.0], [4.0, -3.0, 4.5]]> : tensor<2x3xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<2x3xf64>, tensor<2x3xf64>
  return
}

func.func @linear_weight_grad() {
  %x = ds.constant dense<[[[1.0, 2.0], [3.0, -1.0]], [[0.0, 5.0], [2.0, 2.0]]]> : tensor<2x2x2xf64>
  %dy = ds.constant dense<[[[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], [[3.0, 0.0, 0.0], [0.0, 0.0, 0.5]]]> : tensor<2x2x3xf64>
  %dw = ds.linear_weight_grad %x, %dy : tensor<2x2x2xf64>, tensor<2x2x3xf64> -> tensor<3x2xf64>
  %e_dw = ds.constant dense<[[1.0, 17.0], [3.0, -1.0], [0.0, 6.0]]> : tensor<3x2xf64>
  ds_check.expect_close %dw, %e_dw atol 1.0e-12 rtol 1.0e-12 : tensor<3x2xf64>, tensor<3x2xf64>
  return
}

func.func @column_sum() {
  %dy = ds.constant dense<[[[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]], [[3.0, 0.0, 0.0], [0.0, 0.0, 0.5]]]> : tensor<2x2x3xf64>
  %db = ds.column_sum %dy : tensor<2x2x3xf64> -> tensor<3xf64>
  %e_db = ds.constant dense<[4.0, 1.0, 1.5]> : tensor<3xf64>
  ds_check.expect_close %db, %e_db atol 1.0e-12 rtol 1.0e-12 : tensor<3xf64>, tensor<3xf64>
  return
}

/// Index 2 occurs twice, 1 not at all.
func.func @embedding_grad() {
  %ids = ds.constant dense<[[2, 0], [2, 3]]> : tensor<2x2xi32>
  %dx = ds.constant dense<[[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [5.0, 6.0]]]> : tensor<2x2x2xf64>
  %dw = ds.embedding_grad %ids, %dx : tensor<2x2xi32>, tensor<2x2x2xf64> -> tensor<4x2xf64>
  %e_dw = ds.constant dense<[[3.0, 4.0], [0.0, 0.0], [11.0, 22.0], [5.0, 6.0]]> : tensor<4x2xf64>
  ds_check.expect_close %dw, %e_dw atol 1.0e-12 rtol 1.0e-12 : tensor<4x2xf64>, tensor<4x2xf64>
  return
}

func.func @gather_rows_grad() {
  %x = ds.constant dense<[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]> : tensor<2x2x2xf64>
  %rows = ds.constant dense<[3, 0, 3]> : tensor<3xi32>
  %dy = ds.constant dense<[[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]]> : tensor<3x2xf64>
  %dx = ds.gather_rows_grad %x, %rows, %dy : tensor<2x2x2xf64>, tensor<3xi32>, tensor<3x2xf64>
  %e_dx = ds.constant dense<[[[3.0, 4.0], [0.0, 0.0]], [[0.0, 0.0], [11.0, 22.0]]]> : tensor<2x2x2xf64>
  ds_check.expect_close %dx, %e_dx atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x2xf64>, tensor<2x2x2xf64>
  return
}

func.func @layer_norm_grad() {
  %x = ds.constant dense<[[[-0.22, 0.15, 0.67, -0.51], [-1.59, -0.75, 0.65, 0.91]], [[0.15, -0.81, 1.59, -0.35], [0.55, 1.15, -0.12, 0.55]]]> : tensor<2x2x4xf64>
  %g = ds.constant dense<[0.93, 0.82, 0.5, -0.16]> : tensor<4xf64>
  %dy = ds.constant dense<[[[-1.35, -0.28, 0.17, 0.76], [1.08, 0.34, 0.72, 0.83]], [[-0.58, -1.22, -0.27, 0.2], [0.03, 0.24, 0.78, -1.0]]]> : tensor<2x2x4xf64>
  %dx, %n = ds.layer_norm_grad %x, %g, %dy eps 0.1 : tensor<2x2x4xf64>, tensor<4xf64>
  %e_dx = ds.constant dense<[[[-1.4627446275712792, 0.19915369686101536, 0.4575699893607383, 0.806020941349526], [0.18831680010520735, -0.25013571735954176, 0.22396696550749295, -0.16214804825315865]], [[-0.11917041792783178, -0.3887038756703973, -0.015622190065684993, 0.5234964836639141], [-0.29827962084271, 0.1263455486125437, 0.22980078862254388, -0.057866716392377615]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %dx, %e_dx atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  %e_n = ds.constant dense<[[[-0.44688125348595836, 0.2349581848225141, 1.1932190170398267, -0.9812959483763826], [-1.3023881695203958, -0.5181544330349962, 0.7889017944406699, 1.0316408081147221]], [[0.005237756160775049, -1.000411426708028, 1.5137115304639797, -0.5185378599167265], [0.0318487950634431, 1.123807482952916, -1.1875050730798022, 0.0318487950634431]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %n, %e_n atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  return
}

func.func @rms_norm_grad() {
  %x = ds.constant dense<[[[-0.22, 0.15, 0.67, -0.51], [-1.59, -0.75, 0.65, 0.91]], [[0.15, -0.81, 1.59, -0.35], [0.55, 1.15, -0.12, 0.55]]]> : tensor<2x2x4xf64>
  %g = ds.constant dense<[0.93, 0.82, 0.5, -0.16]> : tensor<4xf64>
  %dy = ds.constant dense<[[[-1.35, -0.28, 0.17, 0.76], [1.08, 0.34, 0.72, 0.83]], [[-0.58, -1.22, -0.27, 0.2], [0.03, 0.24, 0.78, -1.0]]]> : tensor<2x2x4xf64>
  %dx, %n = ds.rms_norm_grad %x, %g, %dy eps 0.1 : tensor<2x2x4xf64>, tensor<4xf64>
  %e_dx = ds.constant dense<[[[-2.1878169934665928, -0.5071847500667647, -0.22065642573391483, 0.06319927117623692], [0.4010760561797675, 0.01010081959320952, 0.5438485711809331, 0.1764781799599529]], [[-0.5805519519079093, -0.9177689836440496, -0.37206778271018226, 0.017983175241034162], [-0.05035711868572526, 0.07566741263510127, 0.5286375937648403, 0.122285748494962]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %dx, %e_dx atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  %e_n = ds.constant dense<[[[-0.40506999622181217, 0.27618408833305375, 1.2336222612209735, -0.9390259003323828], [-1.460437520905201, -0.688885623068491, 0.5970342066593589, 0.8358478893231025]], [[0.15535077241718048, -0.8388941710527748, 1.6467181876221133, -0.3624851356400878], [0.7188007339089932, 1.50294698908244, -0.1568292510346894, 0.7188007339089932]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %n, %e_n atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  return
}

/// Rows not longer than eps are divided by eps.
func.func @l2_normalize_grad() {
  %x = ds.constant dense<[[3.0, 4.0], [0.0, 0.0], [0.3, 0.4]]> : tensor<3x2xf64>
  %dy = ds.constant dense<[[1.0, 0.0], [2.0, 3.0], [1.0, 2.0]]> : tensor<3x2xf64>
  %dx = ds.l2_normalize_grad %x, %dy eps 1.0 : tensor<3x2xf64>
  %e_dx = ds.constant dense<[[0.128, -0.096], [2.0, 3.0], [1.0, 2.0]]> : tensor<3x2xf64>
  ds_check.expect_close %dx, %e_dx atol 1.0e-12 rtol 1.0e-12 : tensor<3x2xf64>, tensor<3x2xf64>
  return
}

func.func @softmax_grad() {
  %y = ds.constant dense<[[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]]> : tensor<2x3xf64>
  %dy = ds.constant dense<[[1.0, 2.0, -4.0], [3.0, 5.0, 7.0]]> : tensor<2x3xf64>
  %dx = ds.softmax_grad %y, %dy : tensor<2x3xf64>
  %e_dx = ds.constant dense<[[0.5, 0.5, -1.0], [0.0, 0.0, 0.0]]> : tensor<2x3xf64>
  ds_check.expect_close %dx, %e_dx atol 1.0e-12 rtol 1.0e-12 : tensor<2x3xf64>, tensor<2x3xf64>
  return
}

func.func @activation_grads() {
  %x = ds.constant dense<[-30.0, -2.5, -0.75, 0.0, 0.5, 3.0, 40.0]> : tensor<7xf64>
  %dy = ds.constant dense<[1.0, 2.0, -1.0, 0.5, 1.0, -2.0, 3.0]> : tensor<7xf64>
  %erf = ds.gelu_grad erf %x, %dy : tensor<7xf64>
  %e_erf = ds.constant dense<[-4.420938404635643e-195, -0.07522217181629039, -0.0007742782607648158, 0.25, 0.8674951246561629, -2.023891294408368, 3.0]> : tensor<7xf64>
  ds_check.expect_close %erf, %e_erf atol 1.0e-12 rtol 1.0e-12 : tensor<7xf64>, tensor<7xf64>
  %tanh = ds.gelu_grad tanh %x, %dy : tensor<7xf64>
  %e_tanh = ds.constant dense<[0.0, -0.07590315242533235, -0.001061743862585618, 0.25, 0.8673699035346424, -2.023168333261939, 3.0]> : tensor<7xf64>
  ds_check.expect_close %tanh, %e_tanh atol 1.0e-12 rtol 1.0e-12 : tensor<7xf64>, tensor<7xf64>
  %silu = ds.silu_grad %x, %dy : tensor<7xf64>
  %e_silu = ds.constant dense<[-2.713710660963134e-12, -0.19880222268305367, -0.1574000555032465, 0.25, 0.7399611873026519, -2.1762082120303385, 3.0]> : tensor<7xf64>
  ds_check.expect_close %silu, %e_silu atol 1.0e-12 rtol 1.0e-12 : tensor<7xf64>, tensor<7xf64>
  %quick = ds.quick_gelu_grad %x, %dy : tensor<7xf64>
  %e_quick = ds.constant dense<[-3.3451423170505653e-21, -0.08943733216274893, -0.0004284665331425186, 0.25, 0.8792219119654143, -2.049096647811305, 3.0]> : tensor<7xf64>
  ds_check.expect_close %quick, %e_quick atol 1.0e-12 rtol 1.0e-12 : tensor<7xf64>, tensor<7xf64>
  %relu = ds.relu_grad %x, %dy : tensor<7xf64>
  %e_relu = ds.constant dense<[0.0, 0.0, 0.0, 0.0, 1.0, -2.0, 3.0]> : tensor<7xf64>
  ds_check.expect_close %relu, %e_relu atol 1.0e-12 rtol 1.0e-12 : tensor<7xf64>, tensor<7xf64>
  return
}

func.func @tanh_grad() {
  %y = ds.constant dense<[0.0, 0.5, -1.0]> : tensor<3xf64>
  %dy = ds.constant dense<[2.0, 4.0, 8.0]> : tensor<3xf64>
  %dx = ds.tanh_grad %y, %dy : tensor<3xf64>
  %e_dx = ds.constant dense<[2.0, 3.0, 0.0]> : tensor<3xf64>
  ds_check.expect_close %dx, %e_dx atol 1.0e-12 rtol 1.0e-12 : tensor<3xf64>, tensor<3xf64>
  return
}

/// The third sequence has no token that counts.
func.func @pool_grad() {
  %x = ds.constant dense<[[[0.0], [0.0], [0.0]], [[0.0], [0.0], [0.0]], [[0.0], [0.0], [0.0]]]> : tensor<3x3x1xf64>
  %dy = ds.constant dense<[[6.0], [4.0], [2.0]]> : tensor<3x1xf64>
  %m = ds.constant dense<[[1, 1, 0], [0, 1, 1], [0, 0, 0]]> : tensor<3x3xi32>
  %cls = ds.pool_grad cls %x, %dy : tensor<3x3x1xf64>, tensor<3x1xf64>
  %e_cls = ds.constant dense<[[[6.0], [0.0], [0.0]], [[4.0], [0.0], [0.0]], [[2.0], [0.0], [0.0]]]> : tensor<3x3x1xf64>
  ds_check.expect_close %cls, %e_cls atol 1.0e-12 rtol 1.0e-12 : tensor<3x3x1xf64>, tensor<3x3x1xf64>
  %mean = ds.pool_grad mean %x, %dy mask %m : tensor<3x3x1xf64>, tensor<3x1xf64>, tensor<3x3xi32>
  %e_mean = ds.constant dense<[[[3.0], [3.0], [0.0]], [[0.0], [2.0], [2.0]], [[0.0], [0.0], [0.0]]]> : tensor<3x3x1xf64>
  ds_check.expect_close %mean, %e_mean atol 1.0e-12 rtol 1.0e-12 : tensor<3x3x1xf64>, tensor<3x3x1xf64>
  %last = ds.pool_grad last %x, %dy mask %m : tensor<3x3x1xf64>, tensor<3x1xf64>, tensor<3x3xi32>
  %e_last = ds.constant dense<[[[0.0], [6.0], [0.0]], [[0.0], [0.0], [4.0]], [[2.0], [0.0], [0.0]]]> : tensor<3x3x1xf64>
  ds_check.expect_close %last, %e_last atol 1.0e-12 rtol 1.0e-12 : tensor<3x3x1xf64>, tensor<3x3x1xf64>
  return
}

/// Turns back what rope turned.
func.func @rope_inverse() {
  %x = ds.constant dense<[[[-0.35, -0.77, -0.7, -1.91, -0.38, 0.91, -0.42, -1.19], [0.29, 0.08, 0.09, 0.18, -0.53, 1.45, 0.15, 2.17], [-0.45, 0.91, 0.11, 0.37, -0.55, -0.17, -0.03, 3.12]]]> : tensor<1x3x8xf64>
  %p = ds.constant dense<[[0, 3, 700]]> : tensor<1x3xi32>
  %half = ds.rope half %x, %p heads 2 rotary 4 base 10000.0 : tensor<1x3x8xf64>, tensor<1x3xi32>
  %half_x = ds.rope half %half, %p heads 2 rotary 4 base 10000.0 inverse : tensor<1x3x8xf64>, tensor<1x3xi32>
  ds_check.expect_close %half_x, %x atol 1.0e-12 rtol 1.0e-12 : tensor<1x3x8xf64>, tensor<1x3x8xf64>
  %interleaved = ds.rope interleaved %x, %p heads 2 rotary 4 base 10000.0 : tensor<1x3x8xf64>, tensor<1x3xi32>
  %interleaved_x = ds.rope interleaved %interleaved, %p heads 2 rotary 4 base 10000.0 inverse : tensor<1x3x8xf64>, tensor<1x3xi32>
  ds_check.expect_close %interleaved_x, %x atol 1.0e-12 rtol 1.0e-12 : tensor<1x3x8xf64>, tensor<1x3x8xf64>
  return
}
