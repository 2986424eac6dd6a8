"""What a program may hold that Paddle is given to run: a closed list of operators and of attributes.

Each is a plain computation of tensors from tensors: none reads or writes a file, calls Python, draws numbers in
inference, or speaks to another process; branches and loops run blocks of the same operators. What is not here is not
run, whatever it may be.
"""

from __future__ import annotations

_PIR = """
    abs add affine_channel affine_grid arange argmax argmin argsort array_length array_read array_to_tensor
    array_write_ assign assign_value assign_value_ batch_norm batch_norm_ bicubic_interp bilinear_interp bmm cast
    cast_ ceil clip concat conv2d conv2d_transpose conv3d cos create_array cumsum deformable_conv depthwise_conv2d
    depthwise_conv2d_transpose diag divide dropout einsum elementwise_pow elu embedding equal erf exp expand
    expand_as eye flatten flip floor floor_divide full full_batch_size_like full_int_array full_like
    full_with_tensor gather gather_nd gelu greater_equal greater_than grid_sample group_norm hardsigmoid hardswish
    hardtanh index_select instance_norm layer_norm leaky_relu less_equal less_than linear_interp linspace log
    log_softmax logical_and logical_not logical_or matmul max max_pool2d_with_index maximum mean mean_all meshgrid
    min minimum mish multiply nearest_interp norm not_equal numel one_hot p_norm pad pad3d pixel_shuffle
    pixel_unshuffle pool2d pow prelu prod reciprocal relu relu_ relu6 remainder reshape reshape_ roll round rsqrt
    scale scale_ selu shape shape64 sigmoid sign silu sin slice slice_array_dense softmax softplus softsign split
    split_with_num sqrt square squeeze stack strided_slice subtract sum swish take_along_axis tanh tile topk
    transpose tril triu trilinear_interp unbind unfold unsqueeze unstack where
"""
PIR_OPERATORS = frozenset({f"1.{name}" for name in _PIR.split()} | {"0.combine", "0.slice", "0.split"})

_PDMODEL_OPERATORS = """
    abs affine_channel affine_grid arg_max arg_min argsort assign assign_value batch_norm bicubic_interp_v2
    bilinear_interp bilinear_interp_v2 bmm cast ceil clip concat conv2d conv2d_transpose conv3d cos cumsum
    deformable_conv depthwise_conv2d depthwise_conv2d_transpose diag_v2 dropout einsum elementwise_add
    elementwise_div elementwise_floordiv elementwise_max elementwise_min elementwise_mod elementwise_mul
    elementwise_pow elementwise_sub elu equal erf exp expand_as_v2 expand_v2 eye fill_any_like fill_constant
    fill_constant_batch_size_like flatten2 flatten_contiguous_range flip floor gather gather_nd gelu greater_equal
    greater_than grid_sampler group_norm hard_sigmoid hard_swish index_select instance_norm layer_norm leaky_relu
    less_equal less_than linear_interp_v2 linspace log log_softmax logical_and logical_not logical_or lookup_table
    lookup_table_v2 matmul matmul_v2 max_pool2d_with_index mean meshgrid mish mul nearest_interp nearest_interp_v2
    norm not_equal one_hot_v2 p_norm pad pad3d pixel_shuffle pixel_unshuffle pool2d pow prelu range reciprocal
    reduce_max reduce_mean reduce_min reduce_prod reduce_sum relu relu6 reshape2 roll round rsqrt scale selu shape
    sigmoid sign silu sin size slice softmax softplus softsign split sqrt square squeeze2 stack strided_slice sum
    swish take_along_axis tanh tile top_k_v2 transpose2 tril_triu trilinear_interp_v2 unbind unfold unsqueeze2
    unstack where
"""
PDMODEL_OPERATORS = frozenset(_PDMODEL_OPERATORS.split())

# Those of these operators that change what they compute, by either form's names.
_ATTRIBUTES = """
    adaptive align_corners align_mode allow_out_of_range alpha approximate asvector axes Axis axis begin_norm_axis
    beta bias bias_after_scale ceil_mode data_format data_layout decimals decrease_axis deformable_groups depth
    descending diagonal dilations dim downscale_factor dropout_implementation dropout_prob dtype end ends epsilon
    equation exclusive factor fix_seed flatten global_pooling groups im2col_step in_dtype index infer_flags
    input_dim_idx interp_method is_test k keep_dim keepdim keepdims kernel_size kernel_sizes ksize lambda largest
    lower max min mode momentum negative_slope num num_classes num_columns num_rows offset out_d out_dtype out_h
    out_w output_dim_idx output_padding output_shape output_size p pad_value padding_algorithm padding_idx
    padding_mode padding_value paddings perm place pooling_type porder reduce_all repeat_times reverse scale
    sections seed shape shifts slope sorted sparse stable start start_axis starts step stop_axis str_value strides
    t_max t_min target_shape threshold trainable_statistics trans_x trans_y transpose_X transpose_x transpose_Y
    transpose_y upscale_factor use_global_stats use_stack value values x_num_col_dims y y_num_col_dims
"""
ATTRIBUTES = frozenset(_ATTRIBUTES.split())

# Those that only say where and how fast, or serve other devices and integer types: they are left out.
_WITHOUT_EFFECT = """
    Scale_in Scale_in_eltwise Scale_out Scale_weights entry exhaustive_search force_cpu fuse_alpha fuse_beta
    fuse_brelu_threshold mkldnn_data_type op_callstack op_device op_namescope op_role op_role_var place_type scale_out
    scale_x scale_y struct_name use_cudnn use_mkldnn use_quantizer with_quant_attr workspace_size_MB
"""
WITHOUT_EFFECT = frozenset(_WITHOUT_EFFECT.split())
