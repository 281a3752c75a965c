// RUN: ds-reference %s

func.func @layer_norm() {
  %x = ds.constant dense<[[[1.05, -0.01, 0.58, -1.29], [0.35, -1.69, -2.04, -0.3]], [[-0.9, 0.16, 2.24, -0.83], [-0.62, 0.21, 0.49, -0.18]]]> : tensor<2x2x4xf64>
  %g = ds.constant dense<[-0.21, 0.7, 0.52, -1.03]> : tensor<4xf64>
  %b = ds.constant dense<[-0.08, 0.04, -1.05, 0.26]> : tensor<4xf64>
  %y = ds.layer_norm %x, %g bias %b eps 1.0e-5 : tensor<2x2x4xf64>, tensor<4xf64>, tensor<4xf64>
  %e_y = ds.constant dense<[[[-0.311693099329549, -0.03383845542802162, -0.7549882869617114, 1.8721015981036058], [-0.35203524265982666, -0.5097825114122481, -1.6440507136298579, -0.3913749754876841]], [[0.09681314870812854, 0.03585917684524284, -0.19998759735585983, 1.0703590913859662], [0.21899960610604555, 0.4336409380107602, -0.409166910642665, 0.6420351109630266]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  %z = ds.layer_norm %x, %g eps 0.1 : tensor<2x2x4xf64>, tensor<4xf64>
  %e_z = ds.constant dense<[[[-0.21795567888629866, -0.06946046613947504, 0.27752004000435815, 1.5165177524281448], [-0.25890153569080293, -0.523239324099523, -0.5653702826633807, -0.6199269617253348]], [[0.17155792960017058, -0.00401775010773238, 0.8247484364005969, 0.7862736960832174], [0.2384329244141784, 0.3139032898449967, 0.5110231065075388, 0.3046483904179558]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %z, %e_z atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  return
}

/// No variance: eps alone keeps it finite.
func.func @layer_norm_of_equal_values() {
  %x = ds.constant dense<[[3.0, 3.0, 3.0, 3.0]]> : tensor<1x4xf64>
  %g = ds.constant dense<[-0.21, 0.7, 0.52, -1.03]> : tensor<4xf64>
  %y = ds.layer_norm %x, %g eps 1.0e-12 : tensor<1x4xf64>, tensor<4xf64>
  %e_y = ds.constant dense<[[0.0, 0.0, 0.0, 0.0]]> : tensor<1x4xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<1x4xf64>, tensor<1x4xf64>
  return
}

func.func @rms_norm() {
  %x = ds.constant dense<[[[1.05, -0.01, 0.58, -1.29], [0.35, -1.69, -2.04, -0.3]], [[-0.9, 0.16, 2.24, -0.83], [-0.62, 0.21, 0.49, -0.18]]]> : tensor<2x2x4xf64>
  %g = ds.constant dense<[-0.21, 0.7, 0.52, -1.03]> : tensor<4xf64>
  %y = ds.rms_norm %x, %g eps 1.0e-6 : tensor<2x2x4xf64>, tensor<4xf64>
  %e_y = ds.constant dense<[[[-0.25034586581493085, -0.007947487803648599, 0.3424231887972025, 1.5085467206725565], [-0.05466911698285132, -0.8799124542954165, -0.7890203985769889, 0.22983343058096678]], [[0.14778592626301904, 0.08757684519290017, 0.9107991900061618, 0.6684771871018781], [0.3110145679139701, 0.35114547990286943, 0.6086521651649737, 0.44287327873463944]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  %z = ds.rms_norm %x, %g eps 0.5 : tensor<2x2x4xf64>, tensor<4xf64>
  %e_z = ds.constant dense<[[[-0.19521876008307637, -0.006197420955018297, 0.26702030857621695, 1.1763590318475445], [-0.04838511515980671, -0.7787699487626032, -0.6983255804288838, 0.20341497393714658]], [[0.12933303652129668, 0.07664179942002765, 0.7970747139682878, 0.5850095921801932], [0.15844505434441652, 0.17888957748563156, 0.31007526764176135, 0.22561991609412307]]]> : tensor<2x2x4xf64>
  ds_check.expect_close %z, %e_z atol 1.0e-12 rtol 1.0e-12 : tensor<2x2x4xf64>, tensor<2x2x4xf64>
  return
}

/// A row shorter than eps is divided by eps.
func.func @l2_normalize() {
  %x = ds.constant dense<[[3.0, 4.0], [0.0, 0.0], [-1.0e-13, 0.0]]> : tensor<3x2xf64>
  %y = ds.l2_normalize %x eps 1.0e-12 : tensor<3x2xf64>
  %e_y = ds.constant dense<[[0.6, 0.8], [0.0, 0.0], [-0.1, 0.0]]> : tensor<3x2xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<3x2xf64>, tensor<3x2xf64>
  return
}

func.func @softmax() {
  %x = ds.constant dense<[[1.0, 2.0, 3.0], [1000.0, 1000.0, -1000.0], [0.0, 0xFFF0000000000000, 0.0]]> : tensor<3x3xf64>
  %y = ds.softmax %x : tensor<3x3xf64>
  %e_y = ds.constant dense<[[0.09003057317038045, 0.2447284710547976, 0.6652409557748218], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]> : tensor<3x3xf64>
  ds_check.expect_close %y, %e_y atol 1.0e-12 rtol 1.0e-12 : tensor<3x3xf64>, tensor<3x3xf64>
  return
}
